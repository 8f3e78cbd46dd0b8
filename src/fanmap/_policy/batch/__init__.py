"""Decisions of a batch job: what a request asks, how hand-ins are composed and read, where the job stands.

Pure: requests and answers are bytes and values, what goes over the wire is yielded and sent back, the journal's lines
are events. Sending, waiting and writing are `_drive.batch`'s.
"""
