"""Audio without an end, from a web radio or a pipe, as blocks of samples.

station.py  one connection to a web radio: redirects, and titles between the audio
hls.py      the same for HLS, where a playlist names pieces of audio
connect.py  open a web radio: follow playlists until there is audio
pipe.py     standard input, or another file that cannot seek
ahead.py    a thread that reads ahead, so that a slow station and a slow consumer do not block each other
live.py     decode bytes as they arrive to blocks of samples
"""
