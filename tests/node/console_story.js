// A person's way through the console, in a real Chromium: from nothing to a key that clusters may use, and, where the server runs
// clusters, to one that is encrypted, has its key changed and is plain again. Every page on the way is judged by axe-core in both
// themes and by html-validate, must fit a wide and a narrow screen, and must put nothing on the browser's console.
//
//     node console_story.js CHROMIUM ENDPOINT TOKEN_FILE PROJECT LANGUAGE script|no-script clusters|keys [SCREENSHOTS]
//
// After each step that changes something it prints `ok STEP` and waits for a line on its input: whoever started it looks at the
// server or at what etcd holds meanwhile.

const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { chromium } = require("playwright-core");
const { HtmlValidate } = require("html-validate");

const [program, endpoint, tokenFile, project, language, script, scope, screenshots] = process.argv.slice(2);
const korean = language === "ko";
const runs = script === "script";
const say = (english, inKorean) => (korean ? inKorean : english);
const token = fs.readFileSync(tokenFile, "utf8").trim();
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const html = new HtmlValidate({ extends: ["html-validate:standard"] });
const WIDTHS = [1280, 390];
// A local cluster is up in ten seconds, and a change restarts its API server more than once.
const CHANGED_WITHIN = 600_000;

const faults = [];
let pages = 0;
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function done(step) {
  console.log(`ok ${step}`);
  await answers.next();
}

async function judge(page, name) {
  pages += 1;
  for (const theme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: theme });
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 800 });
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (over > 0) faults.push(`${name}: ${over} pixels too wide at ${width}`);
      if (screenshots) {
        const file = `${String(pages).padStart(2, "0")}-${name}-${language}-${theme}-${width}.png`;
        await page.screenshot({ path: path.join(screenshots, file), fullPage: true });
      }
      if (runs) {
        const judged = await page.evaluate(`${axe}; axe.run(document)`);
        for (const { id, nodes } of judged.violations) {
          faults.push(`${name}, ${theme}, ${width}: ${id}: ${nodes.map((node) => node.html).join(" ")}`);
        }
      }
    }
  }
  await page.setViewportSize({ width: WIDTHS[0], height: 800 });
  const source = await (await page.context().request.get(page.url())).text();
  const report = await html.validateString(source);
  for (const { messages } of report.results) {
    for (const { ruleId, message, line } of messages) faults.push(`${name}: line ${line}: ${ruleId}: ${message}`);
  }
}

async function tell(page) {
  const link = (english, inKorean) => page.getByRole("link", { name: say(english, inKorean), exact: true }).first();
  const button = (english, inKorean) => page.getByRole("button", { name: say(english, inKorean), exact: true });
  const field = (english, inKorean) => page.getByLabel(say(english, inKorean), { exact: true });
  // By keyboard alone: whoever presses Enter on a link or a button goes the same way as with a mouse.
  const press = async (element) => {
    await element.focus();
    await element.press("Enter");
    await page.waitForLoadState();
  };
  const create = () => press(button("Create", "만들기"));

  await page.goto(`${endpoint}/`);
  await judge(page, "login");
  await field("Token", "토큰").fill(token);
  await press(button("Log in", "로그인"));
  await judge(page, "projects");

  await press(link("Create project", "프로젝트 만들기"));
  await judge(page, "new-project");
  await field("Project ID", "프로젝트 ID").fill(project);
  await create();
  await judge(page, "project");
  const account = await page.locator("dd", { hasText: "@container-engine-robot" }).locator("code").innerText();

  for (const api of ["Cloud Key Management Service (KMS) API", "Kubernetes Engine API"]) {
    await press(button(`Enable: ${api}`, `사용 설정: ${api}`));
  }
  await judge(page, "apis");
  await done("U1");

  await press(link("Key rings", "키링"));
  await judge(page, "no-key-rings");
  await press(link("Create key ring", "키링 만들기"));
  await judge(page, "new-key-ring");
  const longest = "r".repeat(63);
  await field("Key ring name", "키링 이름").fill(longest);
  await field("Location", "위치").selectOption("us-central1");
  await create();
  await judge(page, "key-ring");
  await done("U2");

  for (const key of ["key-1", "key-2"]) {
    await press(link("Create key", "키 만들기"));
    if (key === "key-1") await judge(page, "new-key");
    await field("Key name", "키 이름").fill(key);
    const labels = page.locator("#labels");
    await labels.fill("team=security\nenv=prod");
    await create();
    if (key === "key-1") await judge(page, "key");
    await press(link(longest, longest));
  }
  await judge(page, "keys");
  await done("U3");

  const offered = await page.locator(`#accounts option[value="${account}"]`).count();
  if (offered !== 1) faults.push(`${account} is offered ${offered} times`);
  for (const key of ["key-1", "key-2"]) await page.getByRole("checkbox", { name: key, exact: true }).press("Space");
  await field("Add member", "구성원 추가").fill(account);
  await page.locator("#role").selectOption({ label: "Cloud KMS CryptoKey Encrypter/Decrypter" });
  await press(button("Save", "저장"));
  await judge(page, "granted");
  await done("U4");

  await press(link("Plugins", "플러그인"));
  await judge(page, "no-plugins");
  await page.locator("#key").selectOption({ index: 1 });
  await press(button("Issue a token", "토큰 발급"));
  await judge(page, "token-issued");
  await press(link("Plugins", "플러그인"));
  await judge(page, "plugins");
  await done("K4");

  if (scope === "clusters") {
    const changed = async (word) => {
      // A page without script is asked again by its reader.
      const settled = page.locator(".state", { hasText: word });
      const end = Date.now() + CHANGED_WITHIN;
      while (!(await settled.count())) {
        if (Date.now() > end) throw new Error(`not ${word}: ${await page.locator("#live").innerText()}`);
        await page.waitForTimeout(1000);
        if (!runs) await page.reload();
      }
    };
    await press(link("Clusters", "클러스터"));
    await judge(page, "no-clusters");
    await press(link("Create", "만들기"));
    await judge(page, "new-cluster");
    await field("Name", "이름").fill("cluster-1");
    await field("Location", "위치").selectOption("us-central1");
    await page.getByRole("checkbox").press("Space");
    await page.locator("#key").selectOption({ index: 1 });
    await create();
    await judge(page, "cluster-is-made");
    await changed(/^Enabled/);
    await judge(page, "cluster");
    await done("U5");

    const edit = link("Edit application-layer Secrets encryption", "애플리케이션 레이어 보안 비밀 암호화 수정");
    await press(edit);
    await page.locator("#key").selectOption({ index: 2 });
    await judge(page, "encryption");
    await press(button("Save changes", "변경사항 저장"));
    await changed(/^Enabled/);
    await done("U7");
    const shown = await page.locator("#live").innerText();
    if (!shown.includes("/cryptoKeys/key-2")) faults.push(`U9: ${shown}`);

    await press(edit);
    await page.getByRole("checkbox").press("Space");
    await press(button("Save changes", "변경사항 저장"));
    await changed(/^Disabled/);
    await judge(page, "plain-cluster");
    await done("U8");

    await press(edit);
    await page.getByRole("checkbox").press("Space");
    await page.locator("#key").selectOption({ index: 1 });
    await press(button("Save changes", "변경사항 저장"));
    await changed(/^Enabled/);
    await done("U6");
    await press(link("Clusters", "클러스터"));
    await judge(page, "clusters");
  }

  await press(link("Key rings", "키링"));
  await press(link(longest, longest));
  await press(link("key-2", "key-2"));
  await press(button("Rotate now", "지금 순환"));
  await judge(page, "rotated");
  await press(link("Destroy: 1", "폐기: 1"));
  await judge(page, "destroy");
  await page.locator("#name").fill("key-2");
  await page.locator("#token").fill(token);
  await press(button("Destroy", "폐기"));
  await judge(page, "destroyed-or-refused");
  await done("destroy");

  await press(page.getByRole("link", { name: "admin@keystead.local" }));
  await judge(page, "sessions");
  await press(page.getByRole("link", { name: korean ? "English" : "한국어" }));
  const other = await page.locator("html").getAttribute("lang");
  if (other === language) faults.push("the language did not change");
  await page.goto(`${endpoint}/console/sessions`);
  await press(page.getByRole("button", { name: korean ? "Log out" : "로그아웃" }));
  await page.goto(`${endpoint}/console`);
  if (!page.url().includes("/login")) faults.push(`still logged in at ${page.url()}`);
  await done("logout");
}

async function main() {
  // The judge must know a broken page.
  const broken = await html.validateString("<!DOCTYPE html><html><p id=a><div id=a></p></html>");
  if (broken.valid) faults.push("html-validate takes anything");
  const browser = await chromium.launch({ executablePath: program, args: ["--no-sandbox"] });
  try {
    const context = await browser.newContext({
      // Whether the certificate is right is tested elsewhere; a browser keeps authorities where no variable reaches.
      ignoreHTTPSErrors: true,
      javaScriptEnabled: runs,
      locale: korean ? "ko-KR" : "en-US",
    });
    const page = await context.newPage();
    page.setDefaultTimeout(60_000);
    page.on("console", (message) => {
      if (!["error", "warning"].includes(message.type())) return;
      // A refused form is an answer of 400, which Chromium itself calls an error.
      if (!message.text().startsWith("Failed to load resource")) faults.push(`console: ${message.text()}`);
    });
    page.on("pageerror", (error) => faults.push(`script: ${error.message}`));
    page.on("request", (request) => {
      if (!request.url().startsWith(endpoint)) faults.push(`a request to ${request.url()}`);
    });
    await tell(page);
  } finally {
    await browser.close();
  }
  if (faults.length) throw new Error(`${faults.length} faults:\n${faults.join("\n")}`);
  console.log(`judged ${pages} pages`);
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
