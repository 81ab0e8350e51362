-- Two shops, four people, a board with cards for each, and a day at the counter.

INSERT INTO shops VALUES (7, 'Harbour Garage', 'UTC'), (9, 'Hill Garage', 'UTC');

INSERT INTO users VALUES ('mia', 'Mia Moss'), ('noah', 'Noah Nye'), ('olive', 'Olive Orr'), ('pete', 'Pete Pike');

INSERT INTO memberships VALUES ('mia', 7, '{foreman}'), ('noah', 7, '{}'), ('olive', 9, '{foreman}'), ('pete', 9, '{}');

INSERT INTO board_columns (id, shop_id, name, title, position) VALUES
    (1, 7, 'estimates', 'Estimates', 1), (2, 7, 'in_progress', 'In progress', 2),
    (3, 7, 'waiting_parts', 'Waiting for parts', 3), (4, 7, 'completed', 'Completed', 4),
    (5, 9, 'estimates', 'Estimates', 1), (6, 9, 'in_progress', 'In progress', 2),
    (7, 9, 'waiting_parts', 'Waiting for parts', 3), (8, 9, 'completed', 'Completed', 4);

INSERT INTO cards (id, shop_id, column_id, position, title, car) VALUES
    (1, 7, 1, 1, 'Brake pads', 'Golf, blue'), (2, 7, 1, 2, 'Timing belt', 'Clio'), (3, 7, 1, 3, 'Inspection', 'Panda'),
    (4, 7, 2, 1, 'Clutch', 'Transit'), (5, 7, 2, 2, 'Exhaust', 'Astra'), (6, 7, 3, 1, 'Wing mirror', 'Yaris'),
    (7, 7, 4, 1, 'Oil change', 'Octavia'),
    (8, 9, 5, 1, 'Headlight', 'Corsa'), (9, 9, 5, 2, 'Door lock', 'Berlingo'), (10, 9, 6, 1, 'Gearbox', 'Passat');

INSERT INTO labels (card_id, name, shop_id, colour) VALUES (1, 'urgent', 7, 'red'), (4, 'warranty', 7, 'blue'), (10, 'urgent', 9, 'red');

INSERT INTO comments (card_id, shop_id, author, body) VALUES (4, 7, 'noah', 'Flywheel too, says the customer'), (6, 7, 'mia', 'Part comes on Thursday');

INSERT INTO appointments (shop_id, customer, car, starts_at, minutes, bay, status)
SELECT shop, customer, car, date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + at::interval, minutes, bay, status
FROM (VALUES (7, 'Ada Lund', 'Golf', '8:30', 60, 1, 'Done'), (7, 'Ben Ruiz', 'Clio', '10:00', 90, 1, 'Confirmed'),
             (7, 'Cleo Park', 'Panda', '11:00', 30, 2, 'Pending'), (7, 'Dan Weil', 'Transit', '35:00', 120, 2, 'Pending'),
             (9, 'Eve Holm', 'Corsa', '9:00', 60, 1, 'Confirmed')) AS day (shop, customer, car, at, minutes, bay, status);

SELECT setval(pg_get_serial_sequence('board_columns', 'id'), 100), setval(pg_get_serial_sequence('cards', 'id'), 100);
