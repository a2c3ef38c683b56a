"""The API of Tencent Cloud MPS, for its clients: their requests, signatures, responses and errors.

    endpoint     HTTP request -> authentication -> rate limits -> action -> envelope of the response
    actions      the supported actions; `parameters` reads their parameters
    process      ProcessMedia: request -> job; `templates` stores options under a number
    results      job -> task, songs, callback
    messages     the messages of errors in Chinese
    known        the names of all Tencent actions, to distinguish unsupported actions from unknown ones

No other package contains Tencent's names. Nothing is computed here: jobs are submitted and read as in the REST API.
"""
