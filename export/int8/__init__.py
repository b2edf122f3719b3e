"""Int8: a Q/DQ graph that is gated on what people look at, and the search for it."""
