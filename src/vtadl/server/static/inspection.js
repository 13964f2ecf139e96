import { listen, startResult } from "./result.js";

const box = document.getElementById("result");
startResult(box);
listen(box);
