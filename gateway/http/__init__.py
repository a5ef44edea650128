"""What every request passes, whatever it asks: guard, bodies, compression, errors."""
