// Imported before the package: node:crypto is not there then, as in a worker or a browser, and signatures take time.
import process from "node:process";

process.getBuiltinModule = undefined;
