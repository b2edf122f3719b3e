"""By how much channels are enlarged: so that what reads them loses least to rounding.

Where a channel is enlarged, the rounding error of its activation counts for less, that of the weights that
read it for more. Each channel gets the factor at which the sum of both is forecast to be smallest. The
forecast takes errors as independent; where they are not, as between filters of opposite sign, less may come
of it than nothing, so each link is measured, and left as it is where it does not pay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from ...runtime.progress import progress
from .equalise import Link, Octaves, Reader
from .layers import ConvLayer
from .measure import relative_noise
from .quantize import Int8Conv
from .scales import fake_quantized, quantized_weights, scale_of
from .segments import Captured, Floats, Kernel, Segments

MOST_OCTAVES = 6


class OctaveChoice:
    """Chooses octaves from how convolutions are quantised, and from what they read on some frames."""

    def __init__(
        self,
        layers: Sequence[ConvLayer],
        convs: Mapping[str, Int8Conv],
        segments: Segments,
        frames: Sequence[Captured],
    ) -> None:
        """Start with nothing chosen.

        Args:
            layers: convolutions of the fp32 graph.
            convs: how they are quantised, by the node's name; what others read is left as it is.
            segments: of the fp32 graph.
            frames: what `segments` captured.
        """
        self._layers = {layer.node: layer for layer in layers}
        self._convs, self._segments, self._frames = convs, segments, frames

    def octaves(self, links: Sequence[Link]) -> Octaves:
        """Choose the octaves of each channel, 0 to `MOST_OCTAVES`, of the links that gain by them.

        Returns:
            By the maker's name.
        """
        chosen: dict[str, tuple[int, ...]] = {}
        with progress("int8: channels equalised", len(links)) as advance:
            for link in links:
                if all(reader.node in self._convs for reader in link.readers):
                    octaves = self._forecast(link)
                    if self._pays(link, octaves):
                        chosen[link.maker] = tuple(octaves.tolist())
                advance()
        return chosen

    def _forecast(self, link: Link) -> NDArray[np.int64]:
        noise = [self._noise_by_octave(reader, link.channels) for reader in link.readers]
        best: NDArray[np.int64] = np.argmin(np.sum(noise, axis=0), axis=0)
        return best

    def _noise_by_octave(self, reader: Reader, channels: int) -> NDArray[np.float64]:
        """Forecast what rounding adds to a convolution's output, all its channels taken as equally important.

        An activation's error passes through the channel's weights. Weights err by a uniform share of their
        step, which the channel's values magnify.

        Returns:
            (`MOST_OCTAVES` + 1, `channels`), as parts of the power of the output.
        """
        conv = self._convs[reader.node]
        place = slice(reader.first, reader.first + channels)
        gain = np.sum(conv.weights.astype(np.float64) ** 2, axis=(0, 2, 3))  # (I,)
        power = self._mean_square([frame[reader.tensor] for frame in self._frames])  # (I,)
        steps = quantized_weights(conv.weights)[1].astype(np.float64)  # (O,)
        weights_error = np.sum(steps**2) / 12 * prod(conv.weights.shape[2:])
        noise = []
        for factor in np.exp2(range(MOST_OCTAVES + 1)):
            rounding = self._mean_square(self._rounding_errors(reader, place, factor))
            noise.append(gain[place] * rounding + weights_error * factor**2 * power[place])
        return np.stack(noise) / max(float(gain @ power), 1e-30)

    def _rounding_errors(self, reader: Reader, place: slice, factor: float) -> list[Floats]:
        """Enlarge channels, round them, shrink them again: what is wrong with them then, frame by frame."""
        scale = scale_of(self._convs[reader.node].threshold) / factor
        values = [frame[reader.tensor][:, place] for frame in self._frames]
        return [fake_quantized(own, scale) - own for own in values]

    def _pays(self, link: Link, octaves: NDArray[np.int64]) -> bool:
        """Measure whether the outputs of a link's readers lose less by it."""
        factors = np.exp2(octaves).astype(np.float32)
        noise = [self._noise_before_and_after(reader, factors) for reader in link.readers]
        return sum(after for _, after in noise) < sum(before for before, _ in noise)

    def _noise_before_and_after(self, reader: Reader, factors: Floats) -> tuple[float, float]:
        """Convolve in int8 as it is, and with channels enlarged: the noise in parts of the signal."""
        layer, conv = self._layers[reader.node], self._convs[reader.node]
        own = self._segments.kernel(layer)
        frames = [frame[layer.tensor] for frame in self._frames]
        exact = [self._segments.convolve(layer, values, own) for values in frames]

        def noise(column: Floats) -> float:
            kernel = Kernel(weights=conv.weights / column, bias=own.bias)
            data = (values * column for values in frames)
            return relative_noise(self._segments.convolve_int8(layer, data, kernel, conv.threshold), exact)

        plain = np.ones((1, conv.weights.shape[1], 1, 1), np.float32)
        enlarged = plain.copy()
        enlarged[0, reader.first : reader.first + len(factors), 0, 0] = factors
        return noise(plain), noise(enlarged)

    @staticmethod
    def _mean_square(frames: Sequence[Floats]) -> NDArray[np.float64]:
        """Average the squares over cells and frames, channel by channel."""
        found: NDArray[np.float64] = np.mean(
            [np.mean(np.square(values, dtype=np.float64), axis=(0, 2, 3)) for values in frames], axis=0
        )
        return found
