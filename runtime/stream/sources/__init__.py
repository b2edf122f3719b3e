"""Where frames come from: files, cameras, network streams and programs."""
