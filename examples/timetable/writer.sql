-- The solver and an import, one call a step: what runs in the background all day. When
-- nothing is left to do, another plan is asked for.

CREATE SEQUENCE import_steps;

CREATE FUNCTION make_a_change() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    job    integer;
    import integer := nextval('import_steps');
BEGIN
    FOR job IN SELECT id FROM generation_jobs WHERE state IN ('Queued', 'Running') ORDER BY id LOOP
        PERFORM advance_job(job, 2 + (random() * 12)::integer);
    END LOOP;
    IF random() < 0.01 AND NOT EXISTS (SELECT FROM generation_jobs WHERE state IN ('Queued', 'Running')) THEN
        PERFORM start_job(1, 'ines', 'Plan for week ' || 1 + (SELECT count(*) FROM generation_jobs));
        RETURN 'another plan is asked for';
    END IF;
    PERFORM tell_import(1, 'rooms-' || 1 + import / 200, 1 + import % 200, 200);
    RETURN 'one step further';
END $$;
