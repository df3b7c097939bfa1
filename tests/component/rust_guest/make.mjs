// Makes a component of core.wasm, which rustc made, and world.wit: node make.mjs FOLDER, where the package
// @bytecodealliance/jco is installed. Its wasm-tools, which are WebAssembly themselves, do the work.
import { readFile, writeFile } from "node:fs/promises";
import { componentEmbed, componentNew } from "@bytecodealliance/jco";

const [folder] = process.argv.slice(2);
const witSource = await readFile(`${folder}/world.wit`, "utf8");
const binary = await readFile(`${folder}/core.wasm`);
const embedded = await componentEmbed({ binary, witSource, world: "guest" });
await writeFile(`${folder}/guest.wasm`, await componentNew(embedded));
