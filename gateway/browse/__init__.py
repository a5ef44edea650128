"""The pages for people: what the product is, and a browser of its records."""
