"""Erasing as SQL. `{jobs}` and the like stand for the tables' names, `:v_…` for values.

What stays of a job: ids, owner, project, branch, scene, shot, type, status, times, provider, model, size, costs, the
order's id at the provider, error code, idempotency key and the digest of its body.
"""

from __future__ import annotations

from imagegen.states import TERMINAL
from storage.books_sql import PLANNED
from storage.tables import words

_WORDS = words(TERMINAL)
_LEFT = "j.erased_at IS NULL"
_ENDED = f"j.status IN ({_WORDS})"

OF_JOB = """j.id IN (
    SELECT :v_job_id UNION SELECT o.replaces FROM {jobs} o WHERE o.id = :v_job_id
    UNION SELECT o.id FROM {jobs} o WHERE o.replaces = :v_job_id
    UNION SELECT o.id FROM {jobs} o JOIN {jobs} me ON me.id = :v_job_id AND o.replaces = me.replaces)"""
"""A job, what it replaces, and whatever else replaces either: they show one picture."""
OF_OWNER = "j.owner = :v_owner"

STAKE = f"""
SELECT count(*) AS jobs, count(*) FILTER (WHERE NOT {_ENDED}) AS live, count(j.object_key) AS pictures,
    coalesce(sum(j.bytes), 0)::bigint AS bytes,
    (SELECT count(*) FROM {{styles}} s WHERE s.owner = :v_owner AND s.owner <> '') AS styles
FROM {{jobs}} j WHERE {_LEFT} AND """

REQUEST = f"""
UPDATE {{jobs}} j SET erase_at = :v_until WHERE {_LEFT} AND j.erase_at IS NULL AND """

LIVE = f"SELECT j.id FROM {{jobs}} j WHERE {_LEFT} AND NOT {_ENDED} AND "

_STYLE_INPUTS = """
SELECT coalesce('inputs/' || substr(named.ref #>> '{{}}', 7), '') AS key
FROM {styles} s, jsonb_path_query(s.body, '$.references[*]') AS named(ref)"""

DISCARD_STYLES = f"""
INSERT INTO {{discards}} (key, due_at)
SELECT DISTINCT key, CAST(:v_at AS timestamptz) FROM ({_STYLE_INPUTS} WHERE s.owner = :v_owner) used
ON CONFLICT (key) DO UPDATE SET due_at = excluded.due_at"""

DROP_STYLES = "DELETE FROM {styles} WHERE owner = :v_owner AND owner <> ''"

RETIRE = f"""
WITH past AS (
    SELECT j.id FROM {{jobs}} j
    WHERE j.erase_at IS NULL AND {_ENDED} AND j.job_type = :v_job_type AND j.completed_at <= :v_before AND NOT EXISTS (
        SELECT 1 FROM {{jobs}} o
        WHERE o.id <> j.id AND o.erased_at IS NULL
            AND (o.batch_id = j.batch_id OR o.replaces = j.id OR o.id = j.replaces)
            AND NOT coalesce(o.status IN ({_WORDS}) AND o.completed_at <= CAST(:v_at AS timestamptz)
                - CAST(:v_lives ->> o.job_type AS double precision) * interval '1 second', false))
    ORDER BY j.completed_at LIMIT :v_limit FOR UPDATE OF j SKIP LOCKED
)
UPDATE {{jobs}} j SET erase_at = :v_at FROM past WHERE j.id = past.id RETURNING j.id"""

_READY = f"""{_LEFT} AND j.erase_at IS NOT NULL AND {_ENDED}
    AND NOT EXISTS (SELECT 1 FROM {{attempts}} a WHERE a.job_id = j.id AND a.collect_at IS NOT NULL)"""

DUE = f"""
WITH picked AS (
    SELECT j.id FROM {{jobs}} j WHERE {_READY} AND %s
    ORDER BY j.erase_at, j.id LIMIT :v_limit FOR UPDATE OF j SKIP LOCKED
)
UPDATE {{jobs}} j SET erase_at = :v_until FROM picked WHERE j.id = picked.id RETURNING j.*"""
DUE_NOW = "j.erase_at <= :v_at"

_THESE = "(SELECT one::uuid FROM jsonb_array_elements_text(:v_keys) AS these(one))"

LOCK = f"SELECT j.id FROM {{jobs}} j WHERE j.id IN {_THESE} AND {_READY} ORDER BY j.id FOR UPDATE OF j"

DISCARD = f"""
INSERT INTO {{discards}} (key, due_at)
SELECT DISTINCT used.key, CAST(:v_until AS timestamptz) FROM (
    SELECT 'blobs/' || j.blob_sha256 AS key FROM {{jobs}} j WHERE j.id IN {_THESE}
    UNION SELECT 'blobs/' || a.blob_sha256 FROM {{attempts}} a WHERE a.job_id IN {_THESE}
    UNION SELECT 'blobs/' || c.blob_sha256 FROM {{cache}} c
        JOIN {{jobs}} j ON j.fingerprint = c.fingerprint AND j.emulated = c.emulated AND j.id IN {_THESE}
    UNION SELECT {PLANNED} FROM {{jobs}} WHERE id IN {_THESE}
) used WHERE used.key IS NOT NULL
ON CONFLICT (key) DO UPDATE SET due_at = greatest({{discards}}.due_at, excluded.due_at)"""

UNCACHE = f"""
DELETE FROM {{cache}} c USING {{jobs}} j
WHERE j.id IN {_THESE} AND j.fingerprint = c.fingerprint AND j.emulated = c.emulated AND NOT EXISTS (
    SELECT 1 FROM {{jobs}} o WHERE o.fingerprint = c.fingerprint AND o.emulated = c.emulated
        AND o.blob_sha256 = c.blob_sha256 AND o.erase_at IS NULL)"""
"""A picture that a job left still has goes on answering others."""

CLEAR_ATTEMPTS = f"""
UPDATE {{attempts}} SET result_url = NULL, blob_sha256 = NULL, error = error - 'message' WHERE job_id IN {_THESE}"""

CLEAR_EVENTS = f"UPDATE {{events}} SET detail = '{{{{}}}}' WHERE job_id IN {_THESE}"

CLEAR_JOBS = f"""
UPDATE {{jobs}} SET erased_at = :v_at, updated_at = :v_at, prompt = '', sent_prompt = '', character = NULL,
    asset_id = NULL, style_name = NULL, style_sha256 = NULL, visual_style_capsule_id = NULL, request = '{{{{}}}}',
    plan = '{{{{}}}}', metadata = '{{{{}}}}', fingerprint = '', error_message = NULL, result_url = NULL,
    blob_sha256 = NULL, blob_content_type = NULL, public_url = NULL, thumbnail_url = NULL, object_key = NULL,
    sha256 = NULL, content_type = NULL, bytes = NULL, continuation = NULL
WHERE id IN {_THESE} RETURNING id"""

DROP_DELIVERIES = f"DELETE FROM {{deliveries}} WHERE job_id IN {_THESE} AND due_at IS NULL"

CLEAR_DELIVERIES = f"""
UPDATE {{deliveries}} d SET snapshot = jsonb_build_object('job', to_jsonb(j) - 'continuation')
FROM {{jobs}} j WHERE j.id = d.job_id AND j.id IN {_THESE}"""

CLEAR_BATCH_DELIVERIES = f"""
UPDATE {{deliveries}} d SET snapshot = jsonb_set(d.snapshot, '{{{{jobs}}}}', (
    SELECT coalesce(jsonb_agg(coalesce(to_jsonb(j) - 'continuation', told.job) ORDER BY told.place), '[]')
    FROM jsonb_array_elements(d.snapshot -> 'jobs') WITH ORDINALITY AS told(job, place)
    LEFT JOIN {{jobs}} j ON j.id::text = told.job ->> 'id' AND j.erased_at IS NOT NULL))
WHERE jsonb_typeof(d.snapshot -> 'jobs') = 'array'
    AND d.batch_id IN (SELECT batch_id FROM {{jobs}} WHERE id IN {_THESE})"""

CLEAR_BATCHES = f"""
UPDATE {{batches}} b SET callback_url = NULL, notify_task = NULL
WHERE b.id IN (SELECT batch_id FROM {{jobs}} WHERE id IN {_THESE})
    AND NOT EXISTS (SELECT 1 FROM {{jobs}} o WHERE o.batch_id = b.id AND o.erased_at IS NULL)"""

CLEARING = (
    DISCARD, UNCACHE, CLEAR_ATTEMPTS, CLEAR_EVENTS, CLEAR_JOBS, DROP_DELIVERIES, CLEAR_DELIVERIES,
    CLEAR_BATCH_DELIVERIES, CLEAR_BATCHES,
)  # fmt: skip
"""In this order, in one transaction: the first two read what the others clear."""

DISCARDS = f"""
WITH due AS (SELECT key, due_at FROM {{discards}} WHERE due_at <= :v_at ORDER BY due_at, key LIMIT :v_limit)
SELECT due.key, due.key IN (
    SELECT 'blobs/' || c.blob_sha256 FROM {{cache}} c
    UNION ALL SELECT 'blobs/' || j.blob_sha256 FROM {{jobs}} j WHERE j.blob_sha256 IS NOT NULL
    UNION ALL SELECT 'blobs/' || a.blob_sha256 FROM {{attempts}} a WHERE a.blob_sha256 IS NOT NULL
    UNION ALL SELECT used.key FROM {{jobs}}, LATERAL (SELECT {PLANNED} AS key) used WHERE used.key IS NOT NULL
    UNION ALL {_STYLE_INPUTS}) AS referred
FROM due ORDER BY due.due_at, due.key"""
"""One pass over each table for all of them: there is no index for a question that is asked once an hour."""

SETTLE = "DELETE FROM {discards} WHERE key IN (SELECT jsonb_array_elements_text(:v_keys))"
PUT_OFF = "UPDATE {discards} SET due_at = :v_until WHERE key = :v_key"
