// Requests of the pages to their server.

const base = document.body.dataset.base;

/** Problem with a request: `status` is 0 if the server could not be reached. */
export class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Send a request below /ui, as JSON, a form or a file; gives back the response. If the session has ended, leads to the login. */
export async function request(path, body, { headers = {}, signal } = {}) {
  const options = { method: body === undefined ? "GET" : "POST", headers: { Accept: "application/json", ...headers }, signal };
  if (body instanceof FormData || body instanceof Blob) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(base + path, options);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem("The server cannot be reached.", 0);
  }
  if (response.status === 401) {
    const here = location.pathname.slice(base.length - "/ui".length);
    location.assign(`${base}/login?next=${encodeURIComponent(here)}`);
    throw new Problem("The session has ended: log in again.", 401);
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Problem(problem.detail ?? `The server answers with the status ${response.status}.`, response.status);
  }
  return response;
}

/** Send a request below /ui; gives back the JSON of the response. */
export async function send(path, body) {
  return (await request(path, body)).json();
}
