-- One realistic change, at random: what people of the two departments do all day.

CREATE FUNCTION make_a_change() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    unit      integer := (ARRAY[7, 9])[1 + floor(random() * 2)];
    clerk     text := CASE unit WHEN 7 THEN 'alice' ELSE 'carol' END;
    approver  text := CASE unit WHEN 7 THEN 'bob' ELSE 'dave' END;
    open_ones integer := (SELECT count(*) FROM requests WHERE unit_id = unit);
    target    requests;
    place     integer := (SELECT id FROM storage WHERE unit_id = unit ORDER BY random() LIMIT 1);
    dice      integer := floor(random() * 10);
BEGIN
    IF open_ones < 4 OR (dice = 0 AND open_ones < 9) THEN
        RETURN format('%s asks: request %s', clerk, create_request(unit, clerk,
            (ARRAY['Withdrawal', 'Storage', 'Destruction'])[1 + floor(random() * 3)],
            (ARRAY['Invoices', 'Minutes', 'Permits', 'Plans', 'Letters', 'Ledgers'])[1 + floor(random() * 6)]
                || ' ' || (2008 + floor(random() * 18))::integer));
    END IF;
    IF dice = 1 THEN
        PERFORM relocate((SELECT id FROM crates WHERE unit_id = unit ORDER BY random() LIMIT 1), approver, place);
        RETURN format('%s relocates a crate', approver);
    END IF;

    SELECT * INTO target FROM requests WHERE unit_id = unit ORDER BY random() LIMIT 1 FOR UPDATE;
    IF target.status = 'Pending' THEN
        CASE
            WHEN dice < 6 THEN PERFORM set_status(target.id, approver, 'Approved');
            WHEN dice < 8 THEN PERFORM send_back(target.id, approver,
                (ARRAY['which box?', 'a signature is missing', 'retention has not ended'])[1 + floor(random() * 3)]);
            ELSE PERFORM set_status(target.id, approver, 'Rejected');
        END CASE;
    ELSIF target.status = 'Approved' AND target.storage_id IS NULL THEN
        PERFORM allocate_storage(target.id, approver, place);
    ELSIF target.status = 'Approved' THEN
        PERFORM set_status(target.id, approver, 'Issued');
    ELSIF target.status = 'Issued' THEN
        PERFORM set_status(target.id, clerk, 'Returned');
    ELSE
        PERFORM act_as(clerk), note(target, clerk, 'closed');
        DELETE FROM requests WHERE id = target.id;
        RETURN format('%s closes request %s', clerk, target.id);
    END IF;
    RETURN format('request %s, which was %s, moves on', target.id, target.status);
END $$;
