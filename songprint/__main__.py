"""Run the command `songprint` as `python -m songprint`."""

from songprint.cli import main

if __name__ == "__main__":
    main(prog_name="songprint")
