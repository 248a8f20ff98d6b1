/* The API, to read and to try: made in the browser from /openapi.json, with nothing from anywhere else. */

type Schema = { $ref?: string; type?: string | string[]; enum?: unknown[]; description?: string; format?: string
  properties?: Record<string, Schema>; required?: string[]; default?: unknown; anyOf?: Schema[]; items?: Schema }
interface Parameter { $ref?: string; name: string; in: string; required?: boolean; description?: string; schema: Schema }
interface Answer { $ref?: string; description: string; content?: Record<string, { schema: Schema }> }
interface Call { summary: string; description?: string; tags: string[]; parameters?: Parameter[]; security?: object[]
  requestBody?: { content: Record<string, { schema: Schema }> }; responses: Record<string, Answer> }
interface Description { info: { description: string; version: string }; paths: Record<string, Record<string, Call>>
  tags: { name: string; description: string }[] }

let whole: Description

function resolve<T extends { $ref?: string }>(thing: T): T {
  if (!thing.$ref) return thing
  let at: unknown = whole
  for (const key of thing.$ref.slice(2).split("/")) at = (at as Record<string, unknown>)[key]
  return at as T
}

function make(tag: string, text = "", className = ""): HTMLElement {
  const made = document.createElement(tag)
  made.textContent = text
  if (className) made.className = className
  return made
}

function typeOf(schema: Schema): string {
  const s = resolve(schema)
  if (s.enum) return s.enum.map(String).join(" | ")
  if (s.anyOf) return s.anyOf.map(typeOf).join(" or ")
  if (s.format === "binary") return "file"
  const type = Array.isArray(s.type) ? s.type.join(" or ") : (s.type ?? "anything")
  return s.items ? `list of ${typeOf(s.items)}` : type
}

/* An input for one parameter or field. */
function inputFor(name: string, where: string, schema: Schema, required: boolean, description = ""): HTMLElement {
  const s = resolve(schema)
  const label = make("label", required ? `${name} *` : name)
  const input = document.createElement(s.enum ? "select" : "input") as HTMLInputElement | HTMLSelectElement
  if (s.enum && input instanceof HTMLSelectElement) {
    if (!required) input.append(new Option("", ""))
    for (const value of s.enum) input.append(new Option(String(value), String(value)))
  } else if (input instanceof HTMLInputElement) {
    input.type = s.format === "binary" ? "file" : "text"
    input.placeholder = description || s.description || typeOf(s)
  }
  input.name = name
  input.dataset.where = where
  input.required = required
  label.append(input)
  return label
}

function valuesOf(form: HTMLFormElement, where: string): [string, string | File][] {
  const found: [string, string | File][] = []
  for (const input of form.querySelectorAll<HTMLInputElement | HTMLSelectElement>(`[data-where="${where}"]`)) {
    const file = input instanceof HTMLInputElement ? input.files?.[0] : undefined
    if (file) found.push([input.name, file])
    else if (input.value !== "" && !(input instanceof HTMLInputElement && input.type === "file"))
      found.push([input.name, input.value])
  }
  return found
}

/* What is filled in, sent; the answer as text. */
async function send(method: string, path: string, form: HTMLFormElement): Promise<string> {
  let url = path
  for (const [name, value] of valuesOf(form, "path")) url = url.replace(`{${name}}`, encodeURIComponent(String(value)))
  const query = new URLSearchParams(valuesOf(form, "query") as [string, string][]).toString()
  const headers = new Headers(valuesOf(form, "header") as [string, string][])
  const token = valuesOf(form, "token")[0]
  if (token) headers.set("Authorization", `Bearer ${String(token[1])}`)
  const fields = valuesOf(form, "multipart")
  const text = valuesOf(form, "json")[0]
  let body: FormData | string | null = null
  if (fields.length) {
    body = new FormData()
    for (const [name, value] of fields) (body as FormData).append(name, value)
  } else if (text) {
    body = String(text[1])
    headers.set("Content-Type", "application/json")
  }
  const answer = await fetch(query ? `${url}?${query}` : url, { method: method.toUpperCase(), headers, body })
  const type = answer.headers.get("Content-Type") ?? ""
  let shown = /json|text/.test(type) ? await answer.text() : `(${type})`
  if (type.includes("json") && shown) shown = JSON.stringify(JSON.parse(shown), null, 2)
  return `${answer.status} ${answer.statusText}\n\n${shown.slice(0, 20000)}`
}

function tryForm(method: string, path: string, call: Call): HTMLElement {
  const form = document.createElement("form")
  const box = make("div", "", "options")
  for (const reference of call.parameters ?? []) {
    const p = resolve(reference)
    box.append(inputFor(p.name, p.in, p.schema, p.required ?? false, p.description))
  }
  const content = call.requestBody?.content ?? {}
  const multipart = content["multipart/form-data"]
  if (multipart) {
    const s = resolve(multipart.schema)
    for (const [name, field] of Object.entries(s.properties ?? {}))
      box.append(inputFor(name, "multipart", field, s.required?.includes(name) ?? false))
  }
  if (content["application/json"]) {
    const s = resolve(content["application/json"].schema)
    box.append(inputFor("body", "json", { type: "string" }, true, `JSON: ${Object.keys(s.properties ?? {}).join(", ")}`))
  }
  if (call.security?.length) box.append(inputFor("token", "token", { type: "string" }, false, "Bearer token"))
  const out = make("pre")
  out.hidden = true
  const button = make("button", "Try it")
  form.append(box, button, out)
  form.addEventListener("submit", (e) => {
    e.preventDefault()
    out.hidden = false
    out.textContent = "…"
    send(method, path, form).then((text) => (out.textContent = text), (failure) => (out.textContent = String(failure)))
  })
  return form
}

function answersOf(call: Call): HTMLElement {
  const list = make("dl")
  for (const [status, reference] of Object.entries(call.responses)) {
    const answer = resolve(reference)
    const schema = Object.values(answer.content ?? {})[0]?.schema
    const fields = schema ? Object.keys(resolve(schema).properties ?? {}).join(", ") : ""
    list.append(make("dt", status), make("dd", fields ? `${answer.description}: ${fields}` : answer.description))
  }
  return list
}

function sectionFor(method: string, path: string, call: Call): HTMLElement {
  const section = make("section")
  section.append(make("h2", `${method.toUpperCase()} ${path}`), make("p", call.summary))
  if (call.description) section.append(make("p", call.description, "detail"))
  const details = make("details")
  details.append(make("summary", "Answers and a form to try it"), answersOf(call), tryForm(method, path, call))
  section.append(details)
  return section
}

async function build(): Promise<void> {
  whole = (await (await fetch("/openapi.json")).json()) as Description
  const main = document.getElementById("calls") as HTMLElement
  document.getElementById("about")?.prepend(`${whole.info.description} Version ${whole.info.version}. `)
  for (const tag of whole.tags) {
    if (tag.name === "pages") continue
    main.append(make("h2", tag.description))
    for (const [path, calls] of Object.entries(whole.paths))
      for (const [method, call] of Object.entries(calls))
        if (call.tags.includes(tag.name)) main.append(sectionFor(method, path, call))
  }
}

build().catch((failure) => document.getElementById("about")?.prepend(`/openapi.json cannot be shown: ${String(failure)}. `))
