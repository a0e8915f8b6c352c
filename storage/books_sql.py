"""The doctor's questions as SQL. `{jobs}` and the like stand for the tables' names, `:v_…` for values.

The final state of an attempt is its newest ledger line that is no reservation.
"""

from __future__ import annotations

from imagegen.doctor.books import Check
from imagegen.states import LIVE, TERMINAL, Status
from storage.tables import OPEN_BATCH, PACED, words

_ENDED, _LIVE, _OPEN = words(TERMINAL), words(LIVE), words(OPEN_BATCH)

OVERDUE_AFTER, UNCLOSED_AFTER = "10 minutes", "1 minute"
"""Beyond any lease, retry of a hint, or patience with a crowded queue; beyond the moment between end and closing."""

_FINAL = """
    final AS (
        SELECT DISTINCT ON (coalesce(attempt_id::text, id::text)) job_id, kind, amount
        FROM {ledger} WHERE kind <> 'reserve' ORDER BY coalesce(attempt_id::text, id::text), id DESC
    ),
    sums AS (
        SELECT job_id,
            sum(amount) FILTER (WHERE kind = 'settle') AS settled,
            sum(amount) FILTER (WHERE kind = 'waste') AS wasted,
            sum(amount) FILTER (WHERE kind = 'uncertain') AS uncertain
        FROM final GROUP BY job_id
    )"""

_OF_ACCOUNT = """
    j.emulated = s.emulated
    AND s.scope IN ('all', 'owner:' || j.owner, 'project:' || j.project_id, 'provider:' || j.provider)
    AND (s.period = 'total' OR (j.reserved_on >= s.starts
        AND j.reserved_on < s.starts + CASE s.period WHEN 'day' THEN interval '1 day' ELSE interval '1 month' END))"""

_WITHIN_BUDGET = """
    (b.scope IS NULL OR s.period = 'total'
        OR s.starts >= date_trunc(s.period, b.created_at AT TIME ZONE 'UTC')::date)"""
"""Accounts of days before their budget was set count only what was committed since."""

ODD = {
    Check.OPEN_ATTEMPT: f"""
SELECT a.id::text AS id, jsonb_build_object('job', j.id, 'status', j.status, 'state', a.state) AS told
FROM {{attempts}} a JOIN {{jobs}} j ON j.id = a.job_id
WHERE j.status IN ({_ENDED})
    AND NOT EXISTS (SELECT 1 FROM {{ledger}} l WHERE l.attempt_id = a.id AND l.kind <> 'reserve')
ORDER BY a.submitted_at, a.id LIMIT :v_limit""",
    Check.UNRESERVED: """
SELECT a.id::text AS id, jsonb_build_object('job', a.job_id, 'state', a.state) AS told
FROM {attempts} a
WHERE NOT EXISTS (SELECT 1 FROM {ledger} l WHERE l.attempt_id = a.id AND l.kind = 'reserve')
ORDER BY a.submitted_at, a.id LIMIT :v_limit""",
    Check.COSTS: f"""
WITH {_FINAL}
SELECT j.id::text AS id, jsonb_build_object(
    'actual', j.cost_credits, 'settled', s.settled, 'wasted', j.cost_wasted, 'waste', s.wasted,
    'uncertain', j.cost_uncertain, 'doubtful', s.uncertain) AS told
FROM {{jobs}} j LEFT JOIN sums s ON s.job_id = j.id
WHERE j.status IN ({_ENDED})
    AND (coalesce(j.cost_credits, 0), coalesce(j.cost_wasted, 0), coalesce(j.cost_uncertain, 0))
        <> (coalesce(s.settled, 0), coalesce(s.wasted, 0), coalesce(s.uncertain, 0))
ORDER BY j.created_at, j.id LIMIT :v_limit""",
    Check.COMMITTED: f"""
SELECT j.id::text AS id, jsonb_build_object('committed', j.committed, 'known', k.known, 'status', j.status) AS told
FROM {{jobs}} j CROSS JOIN LATERAL (SELECT
    coalesce(j.cost_wasted, 0) + coalesce(j.cost_uncertain, 0)
    + coalesce(j.cost_credits, CASE WHEN j.status IN ({_LIVE}) THEN j.cost_estimated END, 0) AS known) k
WHERE j.committed <> k.known
ORDER BY j.created_at, j.id LIMIT :v_limit""",
    Check.SPENDING: f"""
SELECT concat_ws(' ', s.scope, s.period, s.starts) AS id, jsonb_build_object(
    'scope', s.scope, 'period', s.period, 'starts', s.starts, 'emulated', s.emulated,
    'committed', s.committed, 'jobs', t.total) AS told
FROM {{spending}} s
LEFT JOIN {{budgets}} b ON (b.scope, b.period, b.emulated) = (s.scope, s.period, s.emulated)
CROSS JOIN LATERAL (SELECT coalesce(sum(j.committed), 0) AS total FROM {{jobs}} j WHERE {_OF_ACCOUNT}) t
WHERE s.committed <> t.total AND {_WITHIN_BUDGET}
ORDER BY s.scope, s.period, s.starts LIMIT :v_limit""",
    Check.UNTIMED: f"""
SELECT j.id::text AS id, jsonb_build_object('status', j.status, 'stage', j.stage) AS told
FROM {{jobs}} j WHERE j.status IN ({_LIVE}) AND j.next_run_at IS NULL
ORDER BY j.created_at, j.id LIMIT :v_limit""",
    Check.OVERDUE: f"""
SELECT j.id::text AS id, jsonb_build_object('status', j.status, 'stage', j.stage, 'due', j.next_run_at) AS told
FROM {{jobs}} j
WHERE j.status IN ({_LIVE}) AND j.next_run_at < CAST(:v_at AS timestamptz) - interval '{OVERDUE_AFTER}'
    AND NOT (coalesce(j.waiting_for, '') IN ({words(PACED)}) AND j.slot_at IS NULL AND j.deadline_at > :v_at)
ORDER BY j.next_run_at, j.id LIMIT :v_limit""",
    Check.OPEN_BATCH: f"""
SELECT b.id::text AS id, jsonb_build_object('status', b.status, 'size', b.size) AS told
FROM {{batches}} b
WHERE b.status IN ({_OPEN}) AND NOT EXISTS (
    SELECT 1 FROM {{jobs}} j WHERE j.batch_id = b.id AND (j.status IN ({_LIVE})
        OR j.completed_at > CAST(:v_at AS timestamptz) - interval '{UNCLOSED_AFTER}'))
ORDER BY b.created_at, b.id LIMIT :v_limit""",
    Check.CLOSED_BATCH: f"""
SELECT b.id::text AS id, jsonb_build_object('status', b.status, 'live', count(*)) AS told
FROM {{batches}} b JOIN {{jobs}} j ON j.batch_id = b.id AND j.status IN ({_LIVE})
WHERE b.status NOT IN ({_OPEN})
GROUP BY b.id ORDER BY b.created_at, b.id LIMIT :v_limit""",
    Check.HISTORY: """
WITH steps AS (
    SELECT job_id, id, status, stage, lead(id) OVER w IS NULL AS newest,
        concat(lag(status) OVER w, '>', move, '>', status) AS step
    FROM {events} WINDOW w AS (PARTITION BY job_id ORDER BY id)
),
wrong AS (SELECT DISTINCT ON (job_id) job_id, step FROM steps WHERE step <> ALL(:v_steps) ORDER BY job_id, id)
SELECT j.id::text AS id, jsonb_build_object(
    'row', concat(j.status, ' ', j.stage), 'history', concat(e.status, ' ', e.stage), 'step', w.step) AS told
FROM {jobs} j LEFT JOIN steps e ON e.job_id = j.id AND e.newest LEFT JOIN wrong w ON w.job_id = j.id
WHERE w.job_id IS NOT NULL OR (e.status, e.stage) IS DISTINCT FROM (j.status, j.stage)
ORDER BY j.created_at, j.id LIMIT :v_limit""",
    Check.FATE: f"""
SELECT a.id::text AS id, jsonb_build_object(
    'job', j.id, 'provider', a.provider, 'order', a.provider_job_id, 'estimate', a.estimate) AS told
FROM {{attempts}} a JOIN {{jobs}} j ON j.id = a.job_id
WHERE j.status IN ({_ENDED}) AND (SELECT l.kind FROM {{ledger}} l
    WHERE l.attempt_id = a.id AND l.kind <> 'reserve' ORDER BY l.id DESC LIMIT 1) = 'uncertain'
ORDER BY a.submitted_at, a.id LIMIT :v_limit""",
}
"""Each selects `id` and `told`. A statement sees one moment, so moves under way never look like oddities."""

_KEYS = "SELECT asked.key FROM jsonb_array_elements_text(:v_keys) AS asked(key)"

_NO_DISCARD = "NOT EXISTS (SELECT 1 FROM {discards} d WHERE d.key = asked.key)"
"""What an erasure left is deleted by the housekeeping, after its grace."""

UNREFERRED_BLOBS = f"""
{_KEYS} CROSS JOIN LATERAL (SELECT substr(asked.key, length(:v_prefix) + 1) AS sha256) one
WHERE NOT EXISTS (SELECT 1 FROM {{cache}} c WHERE c.blob_sha256 = one.sha256)
    AND NOT EXISTS (SELECT 1 FROM {{jobs}} j WHERE j.blob_sha256 = one.sha256)
    AND NOT EXISTS (SELECT 1 FROM {{attempts}} a WHERE a.blob_sha256 = one.sha256)
    AND {_NO_DISCARD}"""

UNREFERRED_ATTEMPTS = f"""
{_KEYS}
WHERE NOT EXISTS (SELECT 1 FROM {{attempts}} a JOIN {{jobs}} j ON j.id = a.job_id
    WHERE a.id::text = substr(asked.key, length(:v_prefix) + 1) AND j.erased_at IS NULL)"""

PLANNED = "jsonb_path_query(plan, '$.*.key') #>> '{{}}'"
"""Keys of a job's inputs: those of `references`, `source` and `mask`."""

UNREFERRED_INPUTS = f"""
WITH used AS (
    SELECT {PLANNED} AS key FROM {{jobs}}
    UNION
    SELECT :v_prefix || substr(named.ref #>> '{{{{}}}}', 7)
    FROM {{styles}}, jsonb_path_query(body, '$.references[*]') AS named(ref)
)
{_KEYS} WHERE NOT EXISTS (SELECT 1 FROM used WHERE used.key = asked.key) AND {_NO_DISCARD}"""

PUBLISHED = """
SELECT id AS job_id, status, object_key, erased_at IS NOT NULL AS erased FROM {jobs}
WHERE id IN (SELECT one::uuid FROM jsonb_array_elements_text(:v_keys) AS asked(one))"""

EXPECTED = f"""
SELECT id AS job_id, status, object_key, blob_sha256,
    ARRAY(SELECT {PLANNED}) AS inputs
FROM {{jobs}}
WHERE id > :v_after AND (status IN ({_LIVE})
    OR (status = '{Status.COMPLETED}' AND object_key IS NOT NULL AND erase_at IS NULL))
ORDER BY id LIMIT :v_limit"""

CACHED = """
SELECT fingerprint, emulated, blob_sha256 FROM {cache}
WHERE (fingerprint, emulated) > (:v_after, :v_after_emulated)
ORDER BY fingerprint, emulated LIMIT :v_limit"""

_THIS = "s.scope = :v_scope AND s.period = :v_period AND s.starts = :v_starts AND s.emulated = :v_emulated"

LOCK_SPENDING = f"SELECT s.scope FROM {{spending}} s WHERE {_THIS} FOR UPDATE"

RECOUNT = f"""
UPDATE {{spending}} s SET committed = (SELECT coalesce(sum(j.committed), 0) FROM {{jobs}} j WHERE {_OF_ACCOUNT})
WHERE {_THIS}"""

FORGET = """
DELETE FROM {cache} WHERE fingerprint = :v_fingerprint AND emulated = :v_emulated AND blob_sha256 = :v_blob_sha256"""
