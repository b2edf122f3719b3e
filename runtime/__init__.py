"""What runs on the device: numpy and OpenCV, never torch. Also the core that the other folders share."""

from .privacy import disable_dependency_telemetry

disable_dependency_telemetry()
