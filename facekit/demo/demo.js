"use strict";
// One photograph at a time: it is sent to each network in turn, to the server that this page came from.

const find = (selector) => document.querySelector(selector);
const [ask, file, camera, viewfinder, video] = ["#ask", "#file", "#camera", "#viewfinder", "#video"].map(find);
const maximum = Number(find("#main").dataset.maximum);
const cards = [...document.querySelectorAll(".card")];
let asking = new AbortController();
let stream = null;

function tell(problem) {
  find("#status").textContent = "";
  find("#problem").textContent = problem;
}

function show(photograph) {
  const picture = find("#photograph img");
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(photograph);
  find("#photograph").hidden = false;
}

async function askAll(photograph) {
  asking.abort();
  const current = asking = new AbortController();
  tell("");
  if (photograph !== file.files[0]) file.value = ""; // its name would stand beside another picture
  cards.forEach((card) => card.querySelector(".reply").replaceChildren());
  if (photograph.size > maximum) {
    const limit = `at most ${maximum / 1e6} MB are taken; make it smaller.`;
    return tell(`The photograph has ${(photograph.size / 1e6).toFixed(1)} MB, ${limit}`);
  }
  show(photograph);
  for (const [number, card] of cards.entries()) {
    find("#status").textContent = `Asking ${card.dataset.name}, ${number + 1} of ${cards.length} …`;
    let reply, text;
    try {
      reply = await fetch(`answers/${number}`, { method: "POST", body: photograph, signal: current.signal });
      text = await reply.text();
    } catch {
      if (current.signal.aborted) return; // another photograph was given
      return tell("The demo does not answer; the terminal in which it was started may say why.");
    }
    if (!reply.ok) return tell(text);
    card.querySelector(".reply").innerHTML = text; // the server's own template, which escapes every name
  }
  find("#status").textContent = cards.length === 1 ? "It has answered." : `All ${cards.length} have answered.`;
}

async function openCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
  } catch (error) {
    return tell(`The camera cannot be used (${error.name}); choose a photograph in its place.`);
  }
  viewfinder.hidden = false;
  video.srcObject = stream;
  await video.play();
  find("#take").focus();
}

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = video.srcObject = null;
  viewfinder.hidden = true;
  camera.focus();
}

function takePicture() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  closeCamera();
  canvas.toBlob(askAll, "image/png");
}

file.addEventListener("change", () => file.files.length && askAll(file.files[0]));
camera.addEventListener("click", () => stream || openCamera());
find("#take").addEventListener("click", takePicture);
find("#close").addEventListener("click", closeCamera);
find("#photograph img").addEventListener("error", () => { find("#photograph").hidden = true; }); // no picture to a browser

// A photograph dropped beside the area must not take the page's place.
document.addEventListener("dragover", (event) => { event.preventDefault(); ask.classList.add("over"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) ask.classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  ask.classList.remove("over");
  const [dropped] = event.dataTransfer.files;
  if (dropped) askAll(dropped);
});
