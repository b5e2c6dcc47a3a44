// An OpenID Connect provider that nobody here wrote, as an issuer of access tokens: they are JSON Web Tokens for the
// resource `urn:api`, got with a client's credentials and signed with the first of its keys.
// Usage: node issuer.mjs PACKAGES PORT KEYS KID...; a key is FOLDER/KID.json, and is made where it is missing.

import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const [packages, port, folder, ...kids] = process.argv.slice(2);
const { default: Provider } = await import(`${packages}/node_modules/oidc-provider/lib/index.js`);

function key(kid) {
  const file = `${folder}/${kid}.json`;
  if (!existsSync(file)) {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    writeFileSync(file, JSON.stringify({ ...privateKey.export({ format: "jwk" }), kid, use: "sig", alg: "ES256" }));
  }
  return JSON.parse(readFileSync(file));
}

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    { client_id: "ann", client_secret: "secret", grant_types: ["client_credentials"], redirect_uris: [], response_types: [] },
  ],
  clientDefaults: { id_token_signed_response_alg: "ES256" },
  enabledJWA: { idTokenSigningAlgValues: ["ES256"] },
  jwks: { keys: kids.map(key) },
  cookies: { keys: ["not used"] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => "urn:api",
      getResourceServerInfo: () => ({
        audience: "urn:api",
        scope: "read write",
        accessTokenFormat: "jwt",
        accessTokenTTL: 600,
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
});
provider.listen(Number(port), "127.0.0.1");
