"""The changes of a type, for those who follow it from outside."""
