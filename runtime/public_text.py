"""What may be shown of names and messages: no password, token or stream key, and no control byte.

A source's name is whatever the user typed: an address with a password, a program's options with a header,
a pipeline with a passphrase. `public_name` says as much of it as tells one source from another: it shows what
is known to be harmless (host, plain path, some parameters) and hides the rest, since nobody can list what all
cameras and services call their secrets. `redact` does the like for lines that somebody else wrote.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator
from itertools import pairwise
from urllib.parse import unquote

HIDDEN = "***"

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/+(.*)", re.DOTALL)
_ADDRESS_IN_TEXT = re.compile(r"(?<![A-Za-z0-9+.-])(?!camera:)[A-Za-z][A-Za-z0-9+.-]*:/+[^\s'\"<>|]+")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+)?(:\d{1,5})?")
_SURE_HOST = re.compile(
    r"(\[[0-9A-Fa-f:.]+\]|localhost|\d+(\.\d+){3}|[\w-]+(\.[\w-]+)*\.[A-Za-z]{2,})(:\d{1,5})?"
)
_PLAIN_SEGMENT = re.compile(r"[\w.,~+*-]*")
_PLAIN_VALUE = re.compile(r"[\w.-]{1,24}")
_PLAIN_WORD = re.compile(r"[\w./+-]*")
_PLAIN_FILE = re.compile(r"[\w./ *+%-]+")

_PLAIN_PARAMETERS = frozenset(
    {
        *("channel", "subtype", "stream", "profile", "camera", "trackid", "unicast", "proto"),
        *("width", "height", "resolution", "fps", "framerate", "codec", "videocodec", "quality"),
        *("mode", "transportmode", "latency", "timeout", "transtype", "pkt_size", "buffer_size", "ttl"),
        *("localaddr", "compression", "frames", "pace", "pixels"),
    }
)
"""Parameters whose values are shown; those of all others are hidden."""

_SECRET_WORDS = (
    "pass|pwd|psw|secret|token|key|auth|credential|cookie|session|sig|user|usr|login|account|streamid|stream-id|"
    "header|jwt|bearer|hdnea|hdnts|playpath|conn"
)
_SECRET_NAME = re.compile(
    rf"(?i)(?:.*[_.-])?(?:[a-z]*(?:{_SECRET_WORDS})[a-z]*|[a-z]*pw|sid|pin)(?:[_.-].*)?"
)
_WORD = r"""("[^"]*"|'[^']*'|[^\s&;|'"]+)"""
_SECRET_PAIR = re.compile(
    rf"(?i)((?<![\w-])(?:[\w.-]*(?:{_SECRET_WORDS})[\w.-]*|(?:[\w-]+[-_])?pw|sid|pin)\s?=\s?){_WORD}"
)
_SECRET_OPTION = re.compile(rf"(?i)((?<![\w-])-\w*(?:{_SECRET_WORDS})\w*\s+){_WORD}")
_HEADER = re.compile(
    r"(?i)\b((?:proxy-|www-)?authori[sz]ation|(?:set-)?cookie|x-[\w-]*(?:key|token|auth)[\w-]*|api-?key)"
    r"(\s*:\s*)[^\r\n'\"]*[^\s'\"]"
)
_CREDENTIALS = re.compile(r"[^\s:@/'\"]*:[^\s@]*@(?=[\w\[])")

_ELEMENT = re.compile(r"[A-Za-z][\w./-]*")
_PLACES = frozenset({"location", "uri", "device", "sensor-id", "port"})
"""Properties that tell one GStreamer pipeline from another."""

_SHORT = 6  # characters; a shorter secret is hidden where it stands alone, not within other words
_MARKS = re.compile(r"[:/?#@&=;,|\s\"']+")


def public_name(text: str) -> str:
    """What to call a source: one printable line without a secret.

    Args:
        text: the source as the user typed it: one of the forms that `open_source` takes, or a mistake.
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "gst":
        name = f"gst:{_public_pipeline(rest)}"
    elif colon and scheme == "ffmpeg":
        name = f"ffmpeg:{_public_options(rest)}"
    elif colon and scheme in ("camera", "csi", "test", "raw"):
        name = f"{scheme}:{','.join(_public_parameters(rest))}"
    elif _ADDRESS.fullmatch(text):
        name = _public_address(text)
    else:
        name = redact(text)
    return printable(name, keep="")


def redact(text: str, secrets: Collection[str] = ()) -> str:
    """Hide what looks like a secret in a line that somebody else wrote, such as a program's message.

    Args:
        text: the line.
        secrets: words that are known to be secret here; see `secrets_in`.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        word = re.escape(secret)
        text = re.sub(rf"(?<!\w){word}(?!\w)" if len(secret) < _SHORT else word, HIDDEN, text)
    text = _HEADER.sub(rf"\1\2{HIDDEN}", text)
    text = _ADDRESS_IN_TEXT.sub(_redacted_address, text)
    text = _SECRET_PAIR.sub(rf"\1{HIDDEN}", text)
    text = _SECRET_OPTION.sub(rf"\1{HIDDEN}", text)
    return _CREDENTIALS.sub(f"{HIDDEN}@", text)


def secrets_in(text: str) -> set[str]:
    """Words of a source that a program which reads it may repeat in its messages, as typed and decoded."""
    scheme, _, rest = text.partition(":")
    found: set[str] = set()
    if scheme in ("gst", "ffmpeg"):
        for part in _secret_values(_words(rest)):
            found |= {part, *_MARKS.split(part)}
        for address in _ADDRESS_IN_TEXT.findall(rest):
            found |= _secrets_of_address(address)
    elif _ADDRESS.fullmatch(text):
        found = _secrets_of_address(text)
    return {word for secret in found for word in (secret, unquote(secret)) if len(word) > 2}


def printable(text: str, keep: str = "\n\t") -> str:
    """Escape what a terminal would obey or hide: control bytes, marks of direction, bytes that are no text.

    Args:
        text: what is to be shown.
        keep: characters that stay.
    """
    return "".join(char if char in keep or char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def _public_address(text: str) -> str:
    """Scheme, host and port of an address, with those parts of its path and query that are plain."""
    found = _ADDRESS.fullmatch(text)
    assert found is not None
    scheme, rest = found[1].lower(), found[2]
    authority, tail = ("", f"/{rest}") if scheme == "file" else _split_authority(rest)
    if "@" in tail and scheme != "file":
        # A password with / ? or # in it, or an @ in the path: the host is shown only where it is surely one.
        before, _, after = rest.rpartition("@")
        authority, tail = _split_authority(after)
        if "=" in before or ":" not in before or not _SURE_HOST.fullmatch(authority):
            return f"{scheme}://{HIDDEN}"
    host = authority.rpartition("@")[2]
    rest, _, fragment = tail.partition("#")
    path, _, query = rest.partition("?")
    shown = host if _HOST.fullmatch(host) else HIDDEN
    shown += "/".join(_public_path(path.split("/"), is_rtmp=scheme.startswith("rtmp")))
    shown += f"?{'&'.join(map(_public_parameter, re.split('[&;]', query)))}" if query else ""
    return f"{scheme}://{shown}" + (f"#{HIDDEN}" if fragment else "")


def _split_authority(rest: str) -> tuple[str, str]:
    end = re.search(r"[/?#]", rest)
    return (rest[: end.start()], rest[end.start() :]) if end else (rest, "")


def _public_path(segments: list[str], *, is_rtmp: bool) -> Iterator[str]:
    """Hide the segments that hold parameters, that follow a secret's name, or that look like a key.

    RTMP has its stream key after the application's name.
    """
    is_value = False
    for place, segment in enumerate(segments):
        if is_rtmp and place > 1 and segment:
            yield HIDDEN
            return
        if is_value and segment:
            yield HIDDEN
        else:
            yield "&".join(map(_public_part, re.split("[&;]", segment)))
        is_value = not is_value and _SECRET_NAME.fullmatch(segment) is not None


def _public_part(text: str) -> str:
    """A segment of a path, or what stands between its & and ;."""
    return text if _PLAIN_SEGMENT.fullmatch(unquote(text)) and not _is_key(text) else _public_parameter(text)


def _public_parameter(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if not equals or not re.fullmatch(r"[\w.-]{1,32}", name) or _is_key(name):
        return HIDDEN
    is_plain = name.lower() in _PLAIN_PARAMETERS and _PLAIN_VALUE.fullmatch(value)
    return pair if is_plain and not _is_key(value) else f"{name}={HIDDEN}"


def _public_parameters(rest: str) -> Iterator[str]:
    """The parameters of a camera or a pattern: `0,width=640`."""
    for place, word in enumerate(rest.split(",")):
        if place == 0 and "=" not in word:
            yield word if _PLAIN_WORD.fullmatch(word) and not _is_key(word) else HIDDEN
        else:
            yield _public_parameter(word)


def _public_pipeline(rest: str) -> str:
    """The elements of a GStreamer pipeline, with the places that they read; other properties are hidden."""
    shown: list[str] = []
    former = "!"
    for word in _words(rest):
        name, equals, value = word.partition("=")
        if word == "!":
            shown.append("!")
        elif former == "!":
            element = re.split(r"[,(]", word)[0]
            shown.append(element if _ELEMENT.fullmatch(element) else HIDDEN)
        elif equals and name in _PLACES and (public := _public_place(value)):
            shown.append(f"{name}={public}")
        former = word
    return " ".join(shown)


def _public_options(rest: str) -> str:
    """The inputs among ffmpeg's options."""
    inputs = [value for option, value in pairwise(_words(rest)) if option == "-i"]
    shown = [_public_place(value) or re.split(r"[^a-z0-9]", value)[0] + f":{HIDDEN}" for value in inputs]
    return " ".join(f"-i {value}" for value in shown) or HIDDEN


def _public_place(value: str) -> str | None:
    """An address or a file's name, `None` where it is neither."""
    if _ADDRESS.fullmatch(value):
        return _public_address(value)
    return value if _PLAIN_FILE.fullmatch(value) and not _is_key(value) else None


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quotation that does not end
        return []


def _redacted_address(found: re.Match[str]) -> str:
    address = found[0].rstrip(".,:;)]}")
    return _public_address(address) + found[0][len(address) :]


def _secret_values(words: list[str]) -> Iterator[str]:
    """Values of options and properties with a secret's name."""
    for former, word in pairwise(["", *words]):
        name, equals, value = word.partition("=")
        if equals and _SECRET_NAME.fullmatch(name):
            yield value
        is_option = former.startswith("-") and _SECRET_NAME.fullmatch(former[1:])
        if is_option or former == "=":  # GStreamer takes `user-pw = word` too
            yield word


def _secrets_of_address(text: str) -> set[str]:
    """Its credentials, and the words between marks that its public form lacks."""
    found = _ADDRESS.fullmatch(text)
    assert found is not None
    credentials = found[2].rpartition("@")[0]
    login, _, password = credentials.partition(":")
    words = {*_MARKS.split(text), *_MARKS.split(unquote(text))}
    return {credentials, login, password, *words} - {found[1], *_MARKS.split(_public_address(text))}


def _is_key(text: str) -> bool:
    """Tell by its looks whether a word is a key: letters and digits in no order, or a great many of them."""
    if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        return True
    whole = re.sub(r"[^A-Za-z0-9]", "", text)
    return (len(whole) >= 20 and _changes(whole) > 0.35 * len(whole)) or any(
        _is_random(run) for run in re.split(r"[^A-Za-z0-9]+", text)
    )


def _is_random(run: str) -> bool:
    """Judge letters and digits without a mark between them; `h264Preview` and `realmonitor` are words."""
    changes = len(re.findall(r"(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])", run))
    is_mixed = (changes >= 4 and len(run) >= 6) or (changes >= 2 and len(run) >= 14)
    is_hex = len(run) >= 16 and re.fullmatch(r"[0-9a-fA-F]+", run) is not None
    return is_mixed or is_hex or len(run) >= 24 or (len(run) >= 10 and _changes(run) > 0.5 * len(run))


def _changes(word: str) -> int:
    """How often small letters, capitals and digits follow one another."""
    kinds = ["0" if char.isdigit() else "A" if char.isupper() else "a" for char in word]
    return sum(one != other for one, other in pairwise(kinds))
