/* The page: uploads a video, follows its job, shows the result. Talks to the API of this server and to nothing else.
 * The job's id is kept in the address (#job=…), so a page that is loaded again goes on where it was. */

interface Urls { [label: string]: string | null }

interface Job {
  job_id: string
  status: "pending" | "processing" | "completed" | "failed" | "cancelled"
  progress: number
  message: string
  filename: string
  current_frame: number
  total_frames: number | null
  queue_position: number | null
  queue_total: number | null
  statistics: Record<string, unknown> | null
  urls: Urls | null
  error: string | null
}

interface GalleryItem { job_id: string; title: string | null; urls: Urls }

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T
}

const form = element<HTMLFormElement>("form")
const fileInput = element<HTMLInputElement>("file")
const bar = element<HTMLProgressElement>("progress")
let stream: EventSource | null = null
let upload: XMLHttpRequest | null = null
let current: string | null = null

function show(id: string, visible: boolean): void {
  element(id).hidden = !visible
}

function say(id: string, text: string): void {
  const target = element(id)
  if (target.textContent !== text) target.textContent = text
}

/* Whoever works with the keyboard goes on here, where what had the focus is gone. */
function takeUpFocus(id: string): void {
  const focused = document.activeElement
  if (!focused || focused === document.body || focused.closest("[hidden], :disabled")) element(id).focus()
}

function complain(sentence: string | null): void {
  show("error", sentence !== null)
  say("error", sentence ?? "")
}

/* The one sentence of an error answer. */
function sentenceOf(body: string, status: number): string {
  try {
    const detail = JSON.parse(body).detail
    if (typeof detail === "string") return detail
  } catch {
    /* no JSON: a proxy's answer */
  }
  return `The server answered with ${status}.`
}

/* The id in the answer to an upload; null: it is none of this server's. */
function jobIn(body: string): string | null {
  try {
    return String(JSON.parse(body).job_id)
  } catch {
    return null
  }
}

/* -- the form --------------------------------------------------------------------------------------- */

function size(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1024)} KB` : `${(bytes / 1048576).toFixed(1)} MB`
}

function fileChosen(): void {
  const file = fileInput.files?.[0]
  say("chosen", file ? `${file.name} (${size(file.size)})` : "Choose a video or photo, or drop it here")
}

function askForKey(sentence: string): void {
  complain(sentence)
  show("key-box", true)
  element("key").focus()
}

function startUpload(): void {
  const fields = new FormData(form)
  for (const [name, value] of [...fields]) if (value === "") fields.delete(name)
  const file = fileInput.files?.[0]
  if (!file) return
  const key = element<HTMLInputElement>("key").value.trim()
  if (!/^[!-~]*$/.test(key)) return askForKey("An API key has none but visible ASCII characters.")
  complain(null)
  element<HTMLButtonElement>("start").disabled = true
  say("job-title", file.name)
  say("state", "Uploading …")
  say("frames", "")
  bar.value = 0
  show("result", false)
  show("job", true)
  show("cancel", true)
  takeUpFocus("job-title")

  upload = new XMLHttpRequest()
  upload.upload.onprogress = (e) => {
    if (!e.lengthComputable) return
    bar.value = (100 * e.loaded) / e.total
    say("frames", `${size(e.loaded)} of ${size(e.total)}`)
  }
  upload.onload = () => {
    const request = upload as XMLHttpRequest
    upload = null
    element<HTMLButtonElement>("start").disabled = false
    const id = request.status === 200 ? jobIn(request.responseText) : null
    if (request.status === 401) {
      show("job", false)
      askForKey(key ? "That is not the server's API key." : "This server takes uploads with its API key only.")
    } else if (!id) {
      show("job", false)
      complain(sentenceOf(request.responseText, request.status))
      takeUpFocus("start")
    } else {
      location.hash = `job=${id}`
    }
  }
  upload.onerror = () => {
    upload = null
    element<HTMLButtonElement>("start").disabled = false
    show("job", false)
    complain("The upload broke off: the server cannot be reached.")
    takeUpFocus("start")
  }
  upload.open("POST", "/api/upload")
  if (key) upload.setRequestHeader("X-API-Key", key)
  upload.send(fields)
}

/* -- a job on its way ------------------------------------------------------------------------------- */

function stateOf(job: Job): string {
  if (job.status === "pending" && job.queue_position)
    return `Waiting: number ${job.queue_position} of ${job.queue_total} in the queue`
  if (job.message.startsWith("Processing")) return "Processing" // its frames change too often to be read out
  return job.message || job.status
}

function progressOf(job: Job): string {
  if (job.status !== "processing" || !job.current_frame) return `${job.progress} %`
  return `${job.progress} %: frame ${job.current_frame}${job.total_frames ? ` of ${job.total_frames}` : ""}`
}

/* Returns whether the job is over. */
function showJob(job: Job): boolean {
  const over = job.status === "completed" || job.status === "failed" || job.status === "cancelled"
  document.title = over ? `${job.filename} – BodyScript` : `${job.progress} % – BodyScript`
  say("job-title", job.filename)
  say("state", stateOf(job))
  say("frames", over ? "" : progressOf(job))
  bar.value = job.progress
  show("job", job.status !== "completed")
  show("cancel", !over)
  show("progress", !over)
  complain(job.status === "failed" ? job.error || job.message : null)
  if (job.status === "completed") showResult(job)
  show("new", over && job.status !== "completed")
  takeUpFocus(job.status === "completed" ? "result-title" : over ? "start" : "job-title")
  if (over) stream?.close()
  return over
}

function follow(id: string): void {
  stream?.close()
  current = id
  complain(null)
  show("new", false)
  show("result", false)
  stream = new EventSource(`/api/events/${id}`)
  stream.addEventListener("status", (e) => showJob(JSON.parse((e as MessageEvent).data)))
  stream.addEventListener("removed", jobIsGone)
  /* The browser connects again by itself, except where the answer is no stream: then the status tells why. */
  stream.onerror = () => {
    if (stream?.readyState === EventSource.CLOSED) void poll(id)
    else sayLost()
  }
}

/* What is shown may be old; the next status takes its place. */
function sayLost(): void {
  show("job", true)
  say("state", "The server cannot be reached; trying again …")
}

function jobIsGone(): void {
  startAnew()
  complain("This job is not there any more.")
}

/* In place of the stream, where that cannot be had. */
async function poll(id: string): Promise<void> {
  const answer = await fetch(`/api/status/${id}`).catch(() => null)
  if (current !== id) return
  if (!answer) sayLost()
  if (answer?.status === 404) return jobIsGone()
  if (answer?.ok && showJob((await answer.json()) as Job)) return
  setTimeout(() => void poll(id), 1000)
}

async function change(method: string, path: string): Promise<boolean> {
  const answer = await fetch(path, { method }).catch(() => null)
  if (answer?.ok) return true
  complain(answer ? sentenceOf(await answer.text(), answer.status) : "The server cannot be reached.")
  return false
}

async function cancel(): Promise<void> {
  if (upload) {
    upload.abort()
    upload = null
    element<HTMLButtonElement>("start").disabled = false
    show("job", false)
    takeUpFocus("start")
  } else if (current) {
    await change("POST", `/api/cancel/${current}`)
  }
}

/* -- the result ------------------------------------------------------------------------------------- */

const labels: Record<string, string> = {
  video: "Video", image: "Picture", preview: "Preview", thumbnail: "Thumbnail",
  csv: "Landmarks, CSV", json: "Landmarks, JSON", metadata: "Metadata",
}

function percent(value: unknown): string {
  return `${Math.round(100 * Number(value))} %`
}

function seconds(value: unknown): string {
  return `${Number(value).toFixed(2)} s`
}

function megabytes(value: unknown): string {
  return `${Number(value).toFixed(1)} MB`
}

const figures: [string, string, (value: unknown) => string][] = [
  ["frames_processed", "Frames", String],
  ["detection_rate", "Person found in", percent],
  ["average_quality", "Average visibility", percent],
  ["processing_time", "Processing time", seconds],
  ["processing_mode", "Mode", String],
  ["peak_memory_mb", "Peak memory", megabytes],
]

function showPicture(urls: Urls): void {
  const box = element("picture")
  const source = urls.video ?? urls.image
  box.replaceChildren()
  if (!source) return
  if (urls.video) {
    const video = document.createElement("video")
    video.controls = video.loop = video.muted = video.autoplay = video.playsInline = true
    video.setAttribute("aria-label", "The video with the skeleton drawn on it")
    if (urls.thumbnail) video.poster = urls.thumbnail
    video.src = source
    box.append(video)
  } else {
    const image = document.createElement("img")
    image.alt = "The picture with the skeleton drawn on it"
    image.src = source
    box.append(image)
  }
}

function showResult(job: Job): void {
  const urls = job.urls ?? {}
  showPicture(urls)
  const list = element("downloads")
  list.replaceChildren()
  for (const [label, name] of Object.entries(labels)) {
    if (!urls[label]) continue
    const link = document.createElement("a")
    link.href = `/api/download/${job.job_id}/${label}`
    link.download = ""
    link.textContent = name
    const item = document.createElement("li")
    item.append(link)
    list.append(item)
  }
  const table = element("statistics")
  table.replaceChildren()
  for (const [name, title, format] of figures) {
    const value = job.statistics?.[name]
    if (value === undefined || value === null) continue
    const term = document.createElement("dt")
    const text = document.createElement("dd")
    term.textContent = title
    text.textContent = format(value)
    table.append(term, text)
  }
  const advice = job.statistics?.["advice"]
  if (typeof advice === "string" && advice) {
    const term = document.createElement("dt")
    const text = document.createElement("dd")
    term.textContent = "Advice"
    text.textContent = advice
    table.append(term, text)
  }
  say("result-title", job.filename)
  show("result", true)
}

function startAnew(): void {
  stream?.close()
  stream = null
  current = null
  document.title = "BodyScript"
  if (location.hash) history.replaceState(null, "", location.pathname)
  form.reset()
  fileChosen()
  complain(null)
  show("job", false)
  show("result", false)
  show("new", true)
  fileInput.focus()
}

async function remove(): Promise<void> {
  if (current && (await change("DELETE", `/api/cleanup/${current}`))) startAnew()
}

/* -- the gallery, the version ----------------------------------------------------------------------- */

async function showGallery(): Promise<void> {
  const answer = await fetch("/api/gallery").catch(() => null)
  if (!answer?.ok) return
  const items = ((await answer.json()) as { items: GalleryItem[] }).items
  const list = element("items")
  for (const entry of items) {
    const source = entry.urls.preview ?? entry.urls.video
    if (!source) continue
    const video = document.createElement("video")
    video.controls = video.muted = video.loop = video.playsInline = true
    video.preload = "none"
    video.setAttribute("aria-label", entry.title ?? "A video with the skeleton drawn on it")
    if (entry.urls.thumbnail) video.poster = entry.urls.thumbnail
    video.src = source
    const title = document.createElement("div")
    title.textContent = entry.title ?? ""
    const item = document.createElement("li")
    item.append(video, title)
    list.append(item)
  }
  show("gallery", list.childElementCount > 0)
}

async function showVersion(): Promise<void> {
  const answer = await fetch("/api").catch(() => null)
  if (answer?.ok) say("version", ((await answer.json()) as { version: string }).version)
}

function readAddress(): void {
  const id = /^#job=([0-9a-f]{32})$/.exec(location.hash)?.[1]
  if (id && id !== current) follow(id)
  if (!id && current) startAnew() // back to before the job
}

/* -- what calls what -------------------------------------------------------------------------------- */

const drop = element("drop")
for (const name of ["dragover", "dragenter"])
  drop.addEventListener(name, (e) => { e.preventDefault(); drop.classList.add("over") })
for (const name of ["dragleave", "drop"])
  drop.addEventListener(name, (e) => { e.preventDefault(); drop.classList.remove("over") })
drop.addEventListener("drop", (e) => {
  const files = e.dataTransfer?.files
  if (!files?.length) return
  fileInput.files = files
  fileChosen()
})
fileInput.addEventListener("change", fileChosen)
form.addEventListener("submit", (e) => { e.preventDefault(); startUpload() })
element("cancel").addEventListener("click", () => void cancel())
element("again").addEventListener("click", startAnew)
element("remove").addEventListener("click", () => void remove())
window.addEventListener("hashchange", readAddress)
readAddress()
void showGallery()
void showVersion()
