"""Durable jobs: decompositions and harvests.

    database.py   where jobs are kept, and the tables beside DBOS's own
    queue.py      the door for whoever starts, lists and cancels jobs (no torch is imported through it)
    limits.py     what may be asked for from outside
    progress.py   how far a job is; written by its worker, read by the API
    heartbeat.py  which workers live
    monitor.py    follows a running job from a thread of its own
    runner.py     what a worker does with a job: decompose, publish, clean up
    harvesting.py what a worker does with a harvest over a corpus
    workflow.py   both as DBOS workflows
    failures.py   an exception as a plain sentence
    places.py     the same without the server's paths

docs/adr/0002-jobs-on-dbos.md says why it is built this way.
"""
