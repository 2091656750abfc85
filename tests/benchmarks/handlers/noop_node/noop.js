"use strict";
module.exports = async () => null;
