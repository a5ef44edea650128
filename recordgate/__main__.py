"""`python -m recordgate`: the command without its launcher script."""

from recordgate.cli.app import main

main()
