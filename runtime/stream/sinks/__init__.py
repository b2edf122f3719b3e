"""Where results go: videos, maps, lines of JSON, QP maps, a window, a pipe."""
