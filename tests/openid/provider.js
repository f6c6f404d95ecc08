// A real OpenID provider for one test: on a free port, with fresh keys, everything in memory.
//
// Which token a client gets is the resource that it asks for: https://api.test/RS256 and the like are JWTs signed so,
// https://api.test/opaque is a token that only introspection can read, and ?ttl=SECONDS behind either says how long it lives.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';

import Provider from 'oidc-provider';

const key = (kid, type, options) => {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), kid, use: 'sig' };
};

const resource = (indicator) => {
  const url = new URL(indicator);
  const kind = url.pathname.slice(1);
  const format = kind === 'opaque' ? { accessTokenFormat: 'opaque' } : { accessTokenFormat: 'jwt', jwt: { sign: { alg: kind } } };
  const accessTokenTTL = Number(url.searchParams.get('ttl') ?? 600);
  return { scope: 'orders:read orders:write', audience: 'https://api.test', accessTokenTTL, ...format };
};

const client = (id, grants) => ({
  client_id: id,
  client_secret: `${id}-secret-of-the-openid-tests`,
  grant_types: grants,
  redirect_uris: [],
  response_types: [],
  token_endpoint_auth_method: id === 'gateway' ? 'client_secret_basic' : 'client_secret_post',
});

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address();
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [client('shop', ['client_credentials']), client('gateway', ['client_credentials'])],
    cookies: { keys: ['the provider sets no cookies here'] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: { enabled: true, getResourceServerInfo: (_, indicator) => resource(indicator) },
      revocation: { enabled: true, allowedPolicy: () => true },
    },
    formats: {
      customizers: {
        jwt: (_, token, parts) => {
          parts.payload.roles = ['staff', token.clientId];
        },
      },
    },
    jwks: {
      keys: [
        key('rsa', 'rsa', { modulusLength: 2048 }),
        key('p256', 'ec', { namedCurve: 'P-256' }),
        key('ed25519', 'ed25519'),
      ],
    },
    scopes: ['orders:read', 'orders:write'],
  });
  server.on('request', provider.callback());
  console.error(`listening openid=127.0.0.1:${port}`);
});
