"""What runs on the device: numpy and OpenCV, never torch. Also the core that the other folders share."""
