// Certificates for tests, made by openssl.

import { execFile } from 'node:child_process';
import { rename } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const KEYS = { ec: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'], rsa: ['rsa:2048'] };

/** A new key and a certificate of its own for 127.0.0.1, as `cert` and `key` in folder; they are there at once, or the old ones are. */
export async function certify(folder, serial, kind = 'ec') {
  const cert = path.join(folder, 'cert.pem');
  const key = path.join(folder, 'key.pem');
  await run('openssl', ['req', '-x509', '-newkey', ...KEYS[kind], '-nodes', '-days', '2', '-subj', '/CN=livefeed test',
    '-addext', 'subjectAltName=IP:127.0.0.1', '-set_serial', `${serial}`, '-keyout', `${key}.new`, '-out', `${cert}.new`]);
  await rename(`${key}.new`, key);
  await rename(`${cert}.new`, cert);
  return { cert, key };
}
