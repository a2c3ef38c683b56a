"""Where Songprint's models are made and measured. Not installed; imports songprint, never the reverse."""
