// Makes a component of app.js: node make.mjs FOLDER, where the package @bytecodealliance/componentize-js is installed. It puts
// the script into a JavaScript engine that was compiled to WebAssembly and comes with it.
import { readFile, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const [folder] = process.argv.slice(2);
const source = await readFile(`${folder}/app.js`, "utf8");
const witWorld = await readFile(`${folder}/world.wit`, "utf8");
const { component } = await componentize(source, {
  witWorld,
  worldName: "guest",
  disableFeatures: ["http", "fetch-event"],
});
await writeFile(`${folder}/guest.wasm`, component);
