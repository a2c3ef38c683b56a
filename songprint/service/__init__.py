"""What a service does and keeps: jobs and who works them off, callbacks, keys, usage, and the way to the outside.

`songprint.server` answers requests with it, and `songprint.cli` commands it; nothing of it is needed to name a clip.
"""
