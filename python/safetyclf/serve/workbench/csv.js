// CSV files (RFC 4180): reading, and writing for spreadsheets.

// Rows of cells. Commas, semicolons or tabs separate, whichever the first line has most of. Throws Error.
export function parse(text) {
  const separator = separatorOf(text);
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;
  const endCell = () => {
    row.push(cell);
    cell = "";
  };
  const endRow = () => {
    endCell();
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
  };
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (quoted) {
      if (character !== '"') cell += character;
      else if (text[i + 1] === '"') cell += text[++i];
      else quoted = false;
    } else if (character === '"' && cell === "") quoted = true;
    else if (character === separator) endCell();
    else if (character === "\n") endRow();
    else if (character !== "\r" || text[i + 1] !== "\n") cell += character;
  }
  if (quoted) throw new Error("The file ends within a quoted cell.");
  endRow();
  return rows;
}

// Text of a file that spreadsheets read as UTF-8, and whose cells they do not run.
export function write(rows) {
  const lines = rows.map((row) => row.map((cell) => `"${harmless(String(cell)).replaceAll('"', '""')}"`).join(","));
  return `\ufeff${lines.join("\r\n")}\r\n`;
}

// Spreadsheets take what begins like this for a formula, unless an apostrophe stands before it; numbers are none.
const FORMULA = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;
const NUMBER = /^[+-]?\d+([.,]\d+)?(e[+-]?\d+)?$/i;

function harmless(cell) {
  return FORMULA.test(cell) && !NUMBER.test(cell) ? `'${cell}` : cell;
}

function separatorOf(text) {
  const line = text.split("\n", 1)[0].replace(/"[^"]*"/g, "");
  const count = (separator) => line.split(separator).length;
  return [",", ";", "\t"].reduce((best, other) => (count(other) > count(best) ? other : best));
}
