-- Two departments, four people, some storage, crates and requests.

INSERT INTO units VALUES (7, 'Finance'), (9, 'Legal');

INSERT INTO users VALUES ('alice', 'Alice Abara'), ('bob', 'Bob Brandt'), ('carol', 'Carol Costa'), ('dave', 'Dave Dahl');

INSERT INTO memberships VALUES
    ('alice', 7, '{}'), ('bob', 7, '{approver,unit_admin}'),
    ('carol', 9, '{}'), ('dave', 9, '{approver,unit_admin}');

INSERT INTO storage (id, unit_id, code) VALUES
    (1, 7, 'F-01'), (2, 7, 'F-02'), (3, 7, 'F-03'), (4, 9, 'L-01'), (5, 9, 'L-02'), (6, 9, 'L-03');

INSERT INTO crates (id, unit_id, label, storage_id) VALUES
    (1, 7, 'Invoices 2019', 1), (2, 7, 'Payroll 2020', 2), (3, 7, 'Tax audits', 1),
    (4, 9, 'Contracts A-K', 4), (5, 9, 'Contracts L-Z', 5), (6, 9, 'Closed cases', 4);

SELECT create_request(7, 'alice', 'Withdrawal', 'Invoices 2019, box 3'),
       create_request(7, 'alice', 'Storage', 'Bank statements 2025'),
       create_request(7, 'bob', 'Destruction', 'Payroll drafts 2012'),
       create_request(9, 'carol', 'Withdrawal', 'Lease with Nordhus'),
       create_request(9, 'carol', 'Storage', 'Case files 2024/II'),
       create_request(9, 'dave', 'Withdrawal', 'Contract 4711');

SELECT setval(pg_get_serial_sequence('storage', 'id'), 100), setval(pg_get_serial_sequence('crates', 'id'), 100);
