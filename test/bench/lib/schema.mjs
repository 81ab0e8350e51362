// The tables that change while we measure. Every program has a database of its own,
// so that one's NOTIFY does not wake another's listener.

// Rows 1..500 are unit 1's; the rows of `spread` are of unit id each.
const tables = (pad) => `
    CREATE TABLE items (id integer PRIMARY KEY, unit integer NOT NULL, n bigint NOT NULL, pad text NOT NULL) WITH (fillfactor = 50);
    CREATE TABLE spread (LIKE items INCLUDING ALL) WITH (fillfactor = 50);
    INSERT INTO items SELECT i, 1, 0, repeat('x', ${pad}) FROM generate_series(1, 500) i;
    INSERT INTO spread SELECT i, i, 0, repeat('x', ${pad}) FROM generate_series(1, 100) i;
    VACUUM ANALYZE items, spread;`;

/** A database whose changes the bridge serves; pad makes a WebSocket frame of about 300 bytes. */
export async function bridgeDatabase(cluster, db) {
    await cluster.sql('postgres', `CREATE DATABASE ${db}`);
    await cluster.sql(db, `
        CREATE EXTENSION livefeed;
        ${tables(52)}
        SELECT livefeed.watch('items', unit => 'unit');
        SELECT livefeed.watch('spread', unit => 'unit');`);
    return db;
}

/** The usual trigger. Its payload is the row, here of as many bytes as the bridge's frame. */
export const notifyFunction = `
    CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_notify('bench', row_to_json(NEW)::text); RETURN NEW; END $$;`;
export const notifyTrigger = (table) => `
    CREATE TRIGGER tell AFTER INSERT OR UPDATE ON ${table} FOR EACH ROW EXECUTE FUNCTION tell();`;

export async function notifyDatabase(cluster, db) {
    await cluster.sql('postgres', `CREATE DATABASE ${db}`);
    await cluster.sql(db, tables(252) + notifyFunction + notifyTrigger('items') + notifyTrigger('spread'));
    return db;
}
