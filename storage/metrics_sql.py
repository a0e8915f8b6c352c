"""The figures of `imagegen.ports_metrics` as SQL. `{jobs}` and the like stand for the tables' names, `:v_…` for values.

Each part selects `name`, `labels` and `value`.
"""

from __future__ import annotations

from imagegen.alerts import CHOSEN_WAITS
from imagegen.outbox import State
from imagegen.states import LIVE, MoveName, Status
from storage.tables import PACED, words
from storage.tables_outbox import UNTAKEN

_ENDS = words((MoveName.COMPLETE, MoveName.STAND_IN, MoveName.FAIL, MoveName.CANCEL))

BEGIN = """
INSERT INTO {counted} AS c (name, events, ledger, events_seen, ledger_seen, begun, at)
VALUES ('histories', 0, 0, 0, 0, 0, 'epoch')
ON CONFLICT (name) DO UPDATE SET name = excluded.name
RETURNING events, ledger, events_seen, ledger_seen, begun, at"""
"""How far the histories are counted; whoever asks next waits until this transaction has ended."""

HORIZON = """
SELECT pg_snapshot_xmin(edge)::text::bigint AS ended, pg_snapshot_xmax(edge)::text::bigint AS begun,
    (SELECT coalesce(max(id), 0) FROM {events}) AS events, (SELECT coalesce(max(id), 0) FROM {ledger}) AS ledger
FROM pg_current_snapshot() AS edge"""

COUNT_UP_TO = """
UPDATE {counted} SET events = :v_events, ledger = :v_ledger, events_seen = :v_events_seen,
    ledger_seen = :v_ledger_seen, begun = :v_begun, at = :v_at"""

_OF_MODEL = "jsonb_build_object('provider', j.provider, 'model', j.model, 'emulated', j.emulated::text)"

# A job that its cache answered is changed by nothing any more; of the others only what never changes is read.
_NEW_ENDS = f"""
SELECT told.name, told.labels, told.value
FROM {{events}} e JOIN {{jobs}} j ON j.id = e.job_id CROSS JOIN LATERAL (VALUES
    ('ended', jsonb_build_object('status', e.status, 'emulated', j.emulated::text,
        'code', CASE WHEN e.move = '{MoveName.FAIL}' THEN e.cause ELSE '' END), 1::numeric),
    ('hits', {_OF_MODEL}, CASE WHEN e.move = '{MoveName.COMPLETE}' AND j.cache_hit THEN 1 END),
    ('saved', {_OF_MODEL}, CASE WHEN e.move = '{MoveName.COMPLETE}' AND j.cache_hit THEN j.cost_estimated END)
) told(name, labels, value)
WHERE e.id > :v_events AND %s AND e.move IN ({_ENDS}) AND told.value IS NOT NULL"""

# The newest line of an attempt is its final state: it takes the place of the one before it.
_NEW_LINES = """
SELECT told.name, jsonb_build_object('kind', told.kind, 'provider', coalesce(a.provider, ''),
    'model', coalesce(a.model, ''), 'emulated', l.emulated::text) AS labels, told.value
FROM {ledger} l LEFT JOIN {attempts} a ON a.id = l.attempt_id LEFT JOIN LATERAL (
    SELECT p.kind, p.amount FROM {ledger} p
    WHERE p.attempt_id = l.attempt_id AND p.kind <> 'reserve' AND p.id < l.id ORDER BY p.id DESC LIMIT 1
) before ON true CROSS JOIN LATERAL (VALUES
    ('ledger', l.kind, l.amount), ('spend', l.kind, l.amount), ('spend', before.kind, -before.amount)
) told(name, kind, value)
WHERE l.id > :v_ledger AND %s AND l.kind <> 'reserve' AND told.kind IN ('settle', 'waste', 'uncertain')"""

FOLD = f"""
INSERT INTO {{totals}} AS t (name, labels, value, at)
SELECT name, labels, sum(value), CAST(:v_at AS timestamptz)
FROM ({_NEW_ENDS % "e.id <= :v_events_seen"} UNION ALL {_NEW_LINES % "l.id <= :v_ledger_seen"}) new
GROUP BY name, labels ORDER BY name, labels
ON CONFLICT (name, labels) DO UPDATE SET value = t.value + excluded.value, at = excluded.at"""

COUNTS = f"""
SELECT name, labels, sum(value) AS value FROM (
    SELECT name, labels, value FROM {{totals}} WHERE name <> 'credits' OR at > :v_asked_since
    UNION ALL {_NEW_ENDS % "true"}
    UNION ALL {_NEW_LINES % "true"}
    UNION ALL SELECT 'callbacks', jsonb_build_object('provider', provider, 'outcome', outcome), count FROM {{callbacks}}
) found GROUP BY name, labels"""

_EMULATED = "jsonb_build_object('emulated', emulated::text)"

_JOBS = f"""
SELECT 'jobs' AS name, jsonb_build_object('status', status, 'emulated', emulated::text) AS labels,
    count(*)::numeric AS value
FROM {{jobs}} WHERE status IN ({words(LIVE)}) GROUP BY status, emulated"""

_OLDEST_QUEUED = f"""
SELECT 'oldest_queued', {_EMULATED}, extract(epoch FROM CAST(:v_at AS timestamptz)
    - min(CASE WHEN run > 1 THEN updated_at ELSE coalesce(scheduled_at, created_at) END))::numeric
FROM {{jobs}} WHERE status = '{Status.QUEUED}' AND status IN ({words(LIVE)})
    AND coalesce(waiting_for, '') NOT IN ({words(CHOSEN_WAITS)})
GROUP BY emulated"""

_OLDEST_DUE = f"""
SELECT 'oldest_due', {_EMULATED}, extract(epoch FROM CAST(:v_at AS timestamptz) - min(next_run_at))::numeric
FROM {{jobs}} WHERE status IN ({words(LIVE)}) AND next_run_at <= :v_at
    AND NOT (coalesce(waiting_for, '') IN ({words(PACED)}) AND slot_at IS NULL AND deadline_at > :v_at)
GROUP BY emulated"""

_ALERTS = """
SELECT told.name, jsonb_build_object('kind', kind), count(*)::numeric
FROM {alerts} CROSS JOIN LATERAL (
    SELECT 'active_alerts' AS name UNION ALL SELECT 'untold_alerts' WHERE told_at IS NULL
) told
GROUP BY told.name, kind"""

_DELIVERIES = """
SELECT 'deliveries', jsonb_build_object('state', state), count(*)::numeric
FROM {deliveries} WHERE %s GROUP BY state"""

STANDING = " UNION ALL ".join(
    (
        _JOBS, _OLDEST_QUEUED, _OLDEST_DUE, _ALERTS,
        _DELIVERIES % f"due_at IS NOT NULL AND state = '{State.DUE}'", _DELIVERIES % f"state IN ({words(UNTAKEN)})",
    )
)  # fmt: skip

BALANCE = """
INSERT INTO {totals} (name, labels, value, at)
VALUES ('credits', jsonb_build_object('provider', CAST(:v_provider AS text), 'emulated', CAST(:v_emulated AS text)),
    :v_left, :v_at)
ON CONFLICT (name, labels) DO UPDATE SET value = excluded.value, at = excluded.at"""
