"""Mutations: one transaction each in canonical."""
