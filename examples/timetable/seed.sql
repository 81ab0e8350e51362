-- Two schools, three people, one plan in review, one job under way.

INSERT INTO schools VALUES (1, 'Northgate'), (2, 'Southfield');

INSERT INTO users VALUES ('ines', 'Ines Ivory'), ('henk', 'Henk Hall'), ('olga', 'Olga Oak');

INSERT INTO memberships VALUES ('ines', 1, '{planner}'), ('henk', 1, '{head}'), ('olga', 2, '{planner,head}');

INSERT INTO workflows (id, school_id, title) VALUES (1, 1, 'Spring term'), (2, 2, 'Evening classes');

INSERT INTO variants (id, workflow_id, name, conflicts, gaps) VALUES
    (1, 1, 'Variant A', 0, 21), (2, 1, 'Variant B', 2, 9), (3, 1, 'Variant C', 1, 14), (4, 2, 'Variant A', 0, 3);

SELECT setval(pg_get_serial_sequence('workflows', 'id'), 100), setval(pg_get_serial_sequence('variants', 'id'), 100);

SELECT start_job(1, 'ines', 'Summer term');
