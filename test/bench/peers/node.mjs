// The usual small program: node's ws and pg, LISTEN, send to the sockets of the payload's unit.
//   node node.mjs CONNINFO CHANNEL PORT
import pg from 'pg';
import { WebSocketServer } from 'ws';

const [conninfo, channel, port] = process.argv.slice(2);
const part = Object.fromEntries(conninfo.split(' ').map((word) => word.split('=')));
const client = new pg.Client({ host: part.host, port: Number(part.port), user: part.user, database: part.dbname });
const everybody = new Set();
const units = new Map();

client.on('notification', ({ payload }) => {
    const { unit } = JSON.parse(payload);
    for (const socket of units.get(unit) ?? []) socket.send(payload);
    for (const socket of everybody) socket.send(payload);
});
await client.connect();
await client.query(`LISTEN ${channel}`);

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(port), backlog: 4096 });
server.on('connection', (socket, request) => {
    const unit = Number(new URL(request.url, 'http://localhost').searchParams.get('unit'));
    const group = unit ? units.get(unit) ?? units.set(unit, new Set()).get(unit) : everybody;
    group.add(socket);
    socket.on('close', () => group.delete(socket));
});
server.on('listening', () => console.log('ready'));
