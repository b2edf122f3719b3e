"""Maps for use: smooth in time, as regions, as statistics, as an encoder's QP offsets."""
