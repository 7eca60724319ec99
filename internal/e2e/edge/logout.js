// A guard that is told from outside what to check: it asks for a token, with the answer about the one before.

/**
 * @param {(options: object) => Promise<{check(token: string): Promise<object>}>} createGuard
 * @param {string} module where the module is
 * @param {string} origin where to ask, which is also the guard's origin
 * @param {object} hello what there is to say first
 */
export async function obey(createGuard, module, origin, hello) {
  const say = async (what) => (await fetch(`${origin}/control`, { method: "POST", body: JSON.stringify(what) })).json();
  try {
    const guard = await createGuard({ ...await say(hello), module, origin });
    for (let said = {}; ;) said = await guard.check((await say(said)).token);
  } catch (e) {
    await say({ failure: String(e?.stack ?? e) });
  }
}
