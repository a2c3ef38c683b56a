"""`python -m songprint` is the command `songprint`."""

from songprint.cli import main

if __name__ == "__main__":
    main(prog_name="songprint")
