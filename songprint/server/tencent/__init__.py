"""The service as programs for Tencent Cloud MPS know it: their requests, their signatures, their answers and errors.

    endpoint     a request over HTTP -> who asks, within which limits -> an action -> the envelope of the answer
    actions      the names of actions and what each does; parameters reads what they are given
    process      ProcessMedia: a request -> a job
    results      a job -> a task, its songs and its callback
    known        what Tencent has besides, to tell an unknown name from one that is not offered here

Only here Tencent's names are known. Nothing here computes: jobs are submitted and read like those of the REST API.
"""
