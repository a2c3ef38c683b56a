"""Sound that has no end: from a web radio or from a pipe, as blocks of samples.

http.py     one connection to a station: redirects, old SHOUTcast answers, titles between the sound
hls.py      the same where the sound comes in pieces that a playlist names
ahead.py    a thread that reads ahead, so that neither a slow station nor a slow listener holds up the other
live.py     bytes as they come -> blocks of samples
"""
