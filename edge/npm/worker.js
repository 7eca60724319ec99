// For workers, where nothing runs between requests: the feed is read when a request finds that it is time.
import { createGuard as create } from "./index.js";

export { ABI, Guard } from "./index.js";

export const createGuard = (options) => create({ ...options, follow: options?.follow ?? "request" });
