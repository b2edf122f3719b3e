"""The run in a browser: live overlay, plots, Prometheus metrics, health."""
