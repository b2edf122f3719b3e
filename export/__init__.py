"""From a checkpoint to ONNX and TensorRT: conversion, parity, bundle."""
