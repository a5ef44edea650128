"""The parts that every request passes, whatever it asks: guard, bodies, compression, errors."""
