// The admin API, with the admin token where one is asked for. It stays in this tab.

const KEY = "penstock-admin-token";
let asking = null;

export class Failure extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

export const hasToken = () => sessionStorage.getItem(KEY) !== null;
export const forgetToken = () => sessionStorage.removeItem(KEY);

// One dialog, however many requests wait for it.
function askForToken(why) {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("login");
    const input = document.getElementById("token");
    if (why) document.getElementById("login-why").textContent = why;
    dialog.addEventListener("close", () => {
      if (input.value) sessionStorage.setItem(KEY, input.value);
      input.value = "";
      asking = null;
      resolve();
    }, {once: true});
    dialog.showModal();
  });
  return asking;
}

export async function get(path) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const answer = await fetch(path, {headers: token ? {authorization: "Bearer " + token} : {}, cache: "no-store"});
    if (answer.status === 401) {
      if (token) forgetToken();
      await askForToken(token ? "This key is not accepted." : "");
      if (!hasToken()) throw new Failure(401, "An admin token is needed.");
      continue;
    }
    const body = await answer.json().catch(() => null);
    if (!answer.ok) throw new Failure(answer.status, body?.error?.message ?? `${path}: ${answer.status}`);
    return body;
  }
}

// null where the gateway keeps nothing of the kind.
export async function getOrNull(path) {
  try { return await get(path); } catch (error) {
    if (error instanceof Failure && error.status === 404) return null;
    throw error;
  }
}
