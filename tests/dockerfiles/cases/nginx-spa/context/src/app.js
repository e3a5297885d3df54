fetch(document.body.dataset.api)
