"""Limits, thresholds and deadlines of the system, as data. Durations are seconds unless the name says otherwise."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

GRACE = timedelta(seconds=10)
"""How long a sent hint may stay unanswered before the sweep sends another; doubles with every hint. Longer than a queue
usually is, so that a burst is not sent twice."""

MOST_DOUBLINGS = 2
"""How often it doubles: a job whose hints waited long in a queue is not forgotten when that queue is lost (40 s)."""

ANNOUNCE_AGAIN = timedelta(seconds=10)
"""After its end a job is announced once more by the sweep: the first announcement may have died with its worker."""

LEASE = timedelta(seconds=20)
"""How long a worker holds a job without a sign of life; four heartbeats long, so that one lost or late does no harm."""

HEARTBEAT = 5.0
"""Seconds between two signs of life of a worker that is busy with jobs."""

SETTLING = 10.0
"""Seconds a paid call without an answer waits at least for its worker's sign of life before its job ends in doubt:
a database that was away kept both from each other."""

COLLECT_EVERY = timedelta(seconds=5)
"""Until the paid picture of an ended job is looked for again; doubles with every try."""

COLLECT_TRIES = 10
"""How often it is looked for: over three quarters of an hour."""

COLLECTORS = 4
"""Threads of one process that look for such pictures: they may wait long, and hold up neither jobs nor the sweep."""

SLOTS_AHEAD = timedelta(seconds=3)
"""How far ahead a limit's slots are given away: a sweep that comes late by less loses none."""

SLOT_LEAD = timedelta(milliseconds=600)
"""How long before its slot a job is sent to a worker, which waits for the moment itself: a sweep and a message."""

HEADROOM = 0.03
"""Share of a provider's limit that is left alone: its clock is not ours."""

PAUSE_LOOK = timedelta(minutes=1)
"""A paused job looks again after this, though `resume` wakes it at once."""

FLIGHT_LOOK = timedelta(seconds=30)
"""A job that waits for another one's purchase of the same picture looks again after this, though it is woken."""

FLIGHT_SURE = LEASE
"""So long a flight is not taken from a leader that seems to have left it: who looks may have looked too early."""

REFUSAL_SHARED = timedelta(minutes=10)
"""How long after it a refusal still holds for the jobs that waited for its picture."""

AGEING = 60.0
"""Seconds of waiting that lift a job by one step of priority, so that a low one never starves."""

CROWDED = 200
"""Messages in a queue from which on hints that were sent before are not sent again."""

CROWDED_PATIENCE = timedelta(minutes=5)
"""For how long: a hint may have been lost though its queue is long."""

SUBMIT_TOTAL = 180.0
"""Total deadline of a paid call; a 4K picture of a thinking model takes well over a minute."""

POLL_TOTAL = 4.5
"""Total deadline of one chunk of polls."""

DOWNLOAD_TOTAL = 20.0
"""Total deadline of one download."""

MAX_ARTIFACT_BYTES = 64 * 1024 * 1024
"""The largest file taken from a provider."""

POLL_AT_ONCE = timedelta(milliseconds=250)
"""A picture expected sooner than this is asked for by the chain's own next link, without a rest in the database."""

POLL_SHORTEST, POLL_LONGEST = timedelta(milliseconds=400), timedelta(seconds=15)
"""Bounds of the time between two polls of one job."""

POLL_UNKNOWN = timedelta(seconds=2)
"""The first poll of a model nobody has measured yet."""

REFETCH_AFTER = timedelta(seconds=1)
"""Before a file that was no picture is asked for again."""

FRESH_URL_PATIENCE = timedelta(minutes=5)
"""How long beyond its deadline a job may ask for a fresh address of the picture it has paid."""

RECONCILE_AGAIN = 15.0
"""Seconds until an object store that could not be asked for a paid picture is asked again."""

PROVIDER_DOWN_LOOK, PROVIDER_DOWN_LONGEST = timedelta(seconds=60), timedelta(minutes=15)
"""When a job that replaces a placeholder first asks a provider; how far the time between two looks may grow."""

PROVIDER_DOWN_PATIENCE = timedelta(hours=24)
"""How long it goes on asking; then the placeholder stays."""

CACHE_CONTROL = "public, max-age=31536000, immutable"
"""Of published pictures: their key carries the job's id, so they never change."""

POLL_CHUNK = 50
"""Jobs per `imagegen.poll` message."""

POLL_THREADS = 8
"""Connections at once inside one chunk."""

SWEEP_LIMIT = 500
"""Rows one sweep takes."""

SWEEP_EVERY = 0.5
"""Beat's interval for the sweep."""

TRANSFER_FAILURES = 6
"""Failed downloads or uploads of one job that are allowed whatever its deadline says: its picture is paid."""

BACKOFF_BASE, BACKOFF_CAP = 1.0, 60.0
"""Exponential backoff of a job that failed for a passing reason."""

COMMIT_PATIENCE = 90.0
"""How long the outcome of a paid call waits in the process for PostgreSQL to come back (law 5)."""

AUTORETRY = {"retry_backoff": 1, "retry_backoff_max": 8, "retry_jitter": True, "max_retries": 6}
"""Celery's own retry of a task whose infrastructure failed."""

RATE_LIMITS = {
    "imagegen.generate": "200/s",
    "imagegen.poll": "100/s",
    "imagegen.download": "200/s",
    "imagegen.upload": "200/s",
}
"""Starting values of Celery's per-task rate limits, per worker; `celery control rate_limit` changes them."""

BREAKER_FAILURES, BREAKER_RESET = 5, 30
"""Consecutive failures that open a circuit, and how long it stays open."""

QUEUES = ("generate", "poll", "transfer", "housekeeping")
"""Queues beside the entry queue, each `{namespace}.{kind}`: one kind of work never waits behind another."""

VISIBILITY_TIMEOUT = 120
"""After this Redis gives back what a worker took and never acknowledged: requests whose worker was killed before their
row was written. Hints that come twice do no harm. Longer than any countdown (`AUTORETRY`)."""

CHORD_EXPIRES = 7 * 24 * 3600
"""How long a batch's chord may take; later the batch is closed by its guarded UPDATE alone."""

ACCEPTED_TTL = 24 * 3600
"""How long the acknowledgement of an accepted id can be read in Redis."""

DELIVERY_BACKOFF = tuple(timedelta(seconds=one) for one in (5, 30, 2 * 60, 10 * 60, 3600, 3 * 3600, 6 * 3600))
"""After a failed webhook, until it is sent again; the last one repeats (standardwebhooks.com advises much the same)."""

DELIVERY_PATIENCE = timedelta(hours=24)
"""How long after its event a webhook is tried."""

DELIVERY_TOTAL = 10.0
"""Total deadline of one attempt; a receiver that needs longer answers first and works afterwards."""

DELIVERY_REPLY = 1024 * 1024
"""Bytes of a receiver's answer that are read; nobody looks at them."""

DELIVERY_HINT = timedelta(seconds=10)
"""How long a hint at a delivery may stay unanswered before the sweep sends another."""

DELIVERY_LEASE = timedelta(seconds=30)
"""How long a courier holds a delivery without a word: longer than one attempt."""

DELIVERY_THREADS, DELIVERIES_AT_ONCE = 16, 64
"""Couriers of one process, and deliveries of the whole cluster that were handed to couriers: receivers that hang hold
up each other, but neither jobs nor the sweep."""

ERASE_EVERY = 60.0
"""Beat's interval for retention, and for erasures that were interrupted or had to wait."""

ERASE_AT_ONCE = 100
"""Jobs whose content is erased together, in one transaction."""

ERASE_ROUNDS = 10
"""Such chunks per run: a thousand jobs a minute leave the queue free for the sweep."""

ERASE_AGAIN = timedelta(minutes=2)
"""Until an erasure that was taken up and not finished is taken up again."""

DISCARD_GRACE = timedelta(hours=1)
"""How long an original outlives the last row that named it: whoever found it in the result cache just before has named
it by then."""

INPUT_GRACE = timedelta(hours=24)
"""How long an input is kept after it was last stored or used: it may be stored long before its request."""

DISCARDS_AT_ONCE = 1000
"""Originals and inputs without a row that one run looks at."""

CREDIT_LOW = Decimal(200)
"""Provider credits below which an alert is raised: more than 20 pictures at NanoBananaAPI, as far as its prices are
known. Google has no such answer."""

WATCH_EVERY, WATCH_MONEY_EVERY = 30.0, 300.0
"""Beat's intervals for alerts: budgets, waiting and failures; balances, prices and spending."""

BUDGET_ALERTS = (50, 80, 100)
"""Percent of a budget, hard or soft, at which an alert is raised."""

QUEUED_TOO_LONG = timedelta(minutes=5)
"""Waiting of the oldest job that may be bought, at which an alert is raised."""

FAILURE_ALERT, FAILURES_OF, FAILURES_FROM = 20, 50, 10
"""Percent of failed jobs among the newest ends, how many of these are looked at, and how many it takes."""

VARIANCE_ALERT, VARIANCE_OF, VARIANCE_FROM = 25, 50, 10
"""Percent between estimated and actual price of a model's newest settled pictures, likewise."""

SPEND_ALERT, SPEND_FROM = 3, Decimal(1)
"""How many times the usual spending of an hour raises an alert, and the US dollars an hour must come to at least."""

STREAM_LOOK = 0.25
"""Seconds between two looks at the log of events, however many streams are open."""

STREAM_GAP, STREAM_GAP_MEMORY = 2.0, 60.0
"""Seconds that events are held back behind a number that cannot be seen yet, and that such a number is looked for."""

STREAM_HEARTBEAT = 15.0
"""Seconds without an event after which a stream says that it lives: proxies cut what is silent for longer."""

STREAM_RECONNECT = 2.0
"""Seconds after which a client is told to connect again."""

STREAM_LIFE = 3600.0
"""Seconds after which a stream is ended, so that its caller's token is looked at again."""

STREAM_STALL = 60.0
"""Seconds that a client may leave what was sent unread."""

STREAM_QUEUE = 256
"""Events that wait for one slow client; with more its stream is ended."""

STREAMS, STREAMS_OF_OWNER = 500, 20
"""Streams of one process, and of one owner in it."""

DRAIN_NOTICE = 0.5
"""Seconds between `/ready` saying that the process ends and its door being closed."""

CALLBACK_PATIENCE = timedelta(seconds=30)
"""How long after a poll has found how an order ended its provider's callback may still come before it is missed."""

CALLBACKS_EVERY = 5.0
"""Beat's interval for counting callbacks that were missed."""

CALLBACKS_KEPT = timedelta(days=8)
"""How long the counts of callbacks are kept: a week and the day it began on."""
