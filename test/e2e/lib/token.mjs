// Tokens as other issuers make them, good ones and bad ones.

import crypto from 'node:crypto';

const encode = (text) => Buffer.from(text).toString('base64url');

const SIGN = {
  HS256: (data, key) => crypto.createHmac('sha256', key).update(data).digest(),
  HS384: (data, key) => crypto.createHmac('sha384', key).update(data).digest(),
  HS512: (data, key) => crypto.createHmac('sha512', key).update(data).digest(),
  RS256: (data, key) => crypto.sign('sha256', Buffer.from(data), key),
  ES256: (data, key) => crypto.sign('sha256', Buffer.from(data), { key, dsaEncoding: 'ieee-p1363' }),
  EdDSA: (data, key) => crypto.sign(null, Buffer.from(data), key),
  none: () => Buffer.alloc(0),
};

/** Header and payload as given, texts, bytes or objects: nothing is added, nothing checked. */
export function signRaw(alg, key, header, payload) {
  const text = (part) => (typeof part === 'string' || Buffer.isBuffer(part) ? part : JSON.stringify(part));
  const data = `${encode(text(header))}.${encode(text(payload))}`;
  return `${data}.${SIGN[alg](data, key).toString('base64url')}`;
}

export const now = () => Math.floor(Date.now() / 1000);

/** An ordinary token; `header` adds to its header. */
export function mint(alg, key, claims = {}, header = {}) {
  return signRaw(alg, key, { alg, typ: 'JWT', ...header }, { exp: now() + 600, ...claims });
}

export function keyPair(kind) {
  switch (kind) {
    case 'RS256': return crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
    case 'ES256': return crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
    case 'EdDSA': return crypto.generateKeyPairSync('ed25519');
    default: throw new Error(kind);
  }
}

export const pem = (publicKey) => publicKey.export({ type: 'spki', format: 'pem' });
